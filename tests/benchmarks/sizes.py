"""The two sizes that are timed: HGAD's, and that of the preset `synthetic`."""

__all__ = ["SIZES", "Size", "batch_of", "model_of", "step_flops"]

from dataclasses import dataclass

import torch

from analysis import study
from cl_flow.flow import FlowConfig, FlowModel
from cl_flow.train import Batch

PRESET = study("synthetic").base


@dataclass(frozen=True)
class Size:
    """What decides how long a step takes."""

    dim: int
    grids: tuple[tuple[int, int], ...]
    config: FlowConfig
    n_images: int
    n_patches: int | None
    n_classes: int = 15


SIZES = {
    "hgad": Size(200, ((32, 32), (16, 16)), FlowConfig(), 8, None),
    "synthetic": Size(
        PRESET.whiten, ((16, 16), (8, 8)), PRESET.flow, PRESET.train.batch_images, PRESET.train.batch_patches
    ),
}


def model_of(size: Size, device: torch.device) -> FlowModel:
    """A new model of all classes."""
    model = FlowModel([size.dim] * len(size.grids), size.grids, size.config).expand_(size.n_classes)
    return model.to(device)


def batch_of(size: Size, device: torch.device, *, seed: int = 0) -> Batch:
    """A batch of noise."""
    generator = torch.Generator().manual_seed(seed)
    cells = [h * w for h, w in size.grids]
    n = [size.n_patches or c for c in cells]
    x = [torch.randn(size.n_images * m, size.dim, generator=generator).to(device) for m in n]
    index = [
        None if m == c else torch.randint(c, (size.n_images * m,), generator=generator).to(device)
        for m, c in zip(n, cells)
    ]
    return Batch(x, index, torch.randint(size.n_classes, (size.n_images,), generator=generator).to(device))


def step_flops(size: Size) -> float:
    """Floating-point operations of the products in one step, forward and backward: nothing that could be left out.

    Per block and patch, forward: both layers and the rotation. Backward: the same for the gradient of what goes in (the
    first block's input needs none), and again for the two layers' weights; the rotation learns nothing. The codes are
    projected once per cell, and have no gradient. The kernels of the losses, and their gradients, close the sum.
    """
    config, half = size.config, size.dim // 2
    hidden = config.hidden or 2 * (size.dim - half + config.position_dim)
    total = 0.0
    for h, w in size.grids:
        n = size.n_images * (size.n_patches or h * w)
        first, second, turn = (size.dim - half) * hidden, hidden * 2 * half, size.dim**2
        forward = n * (first + second + turn)
        backward = n * (2 * first + 2 * second + turn)
        codes = 2 * h * w * config.position_dim * hidden
        total += config.n_blocks * (forward + backward + codes) - n * first
        total += 3 * n * size.dim * (size.n_classes + config.n_components)
    return 2.0 * total
