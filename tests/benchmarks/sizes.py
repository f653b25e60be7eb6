"""The sizes that are timed: HGAD's, and that of the preset `synthetic`."""

__all__ = [
    "GPU_SIZES",
    "SIZES",
    "Size",
    "batch_of",
    "flops",
    "model_of",
    "step_products",
]

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from analysis import study
from cl_flow.data.patches import Batch
from cl_flow.model.flow import FlowConfig, FlowModel

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


THREE_LEVELS = ((64, 64), (32, 32), (16, 16))
SIZES = {
    "hgad": Size(200, ((32, 32), (16, 16)), FlowConfig(), 8, None),
    "synthetic": Size(
        PRESET.whiten,
        ((16, 16), (8, 8)),
        PRESET.flow,
        PRESET.train.batch_images,
        PRESET.train.batch_patches,
    ),
}
# Too much for a CPU's patience: HGAD's three levels on 1024 pixels.
GPU_SIZES = {**SIZES, "three levels": replace(SIZES["hgad"], grids=THREE_LEVELS)}


def model_of(size: Size, device: torch.device) -> FlowModel:
    """A new model of all classes."""
    model = FlowModel([size.dim] * len(size.grids), size.grids, size.config).expand_(
        size.n_classes
    )
    return model.to(device)


def batch_of(size: Size, device: torch.device, *, seed: int = 0) -> Batch:
    """A batch of noise."""
    generator = torch.Generator().manual_seed(seed)
    cells = [h * w for h, w in size.grids]
    n = [size.n_patches or c for c in cells]
    x = [
        torch.randn(size.n_images * m, size.dim, generator=generator).to(device)
        for m in n
    ]
    index = [
        None
        if m == c
        else torch.randint(c, (size.n_images * m,), generator=generator).to(device)
        for m, c in zip(n, cells)
    ]
    return Batch(
        x,
        index,
        torch.randint(size.n_classes, (size.n_images,), generator=generator).to(device),
    )


def step_products(size: Size) -> list[tuple[int, int, int]]:
    """The matrix products (m, k, n) of one step, forward and backward: nothing that
    could be left out.

    Per block, forward: both layers and the rotation. Backward: the same for the
    gradient of what goes in (of the first block's input none is needed), and again for
    the two layers' weights; the rotation learns nothing. The codes are projected once
    per cell, and learn nothing. Then the kernels of the losses, between classes and
    within one.
    """
    config, half = size.config, size.dim // 2
    split, hidden = (
        size.dim - half,
        config.hidden or 2 * (size.dim - half + config.position_dim),
    )
    products = []
    for h, w in size.grids:
        n = size.n_images * (size.n_patches or h * w)
        first, second, turn = (
            (n, split, hidden),
            (n, hidden, 2 * half),
            (n, size.dim, size.dim),
        )
        codes = (h * w, config.position_dim, hidden)
        products += config.n_blocks * [first, second, turn, codes]
        products += config.n_blocks * [
            _weights(first),
            _inputs(second),
            _weights(second),
            turn,
            _weights(codes),
        ]
        products += (config.n_blocks - 1) * [_inputs(first)]
        kernels = [(n, size.dim, size.n_classes), (n, size.dim, config.n_components)]
        products += [
            p for kernel in kernels for p in (kernel, _inputs(kernel), _weights(kernel))
        ]
    return products


def _inputs(product: tuple[int, int, int]) -> tuple[int, int, int]:
    """Of the gradient of the left factor of a product."""
    m, k, n = product
    return m, n, k


def _weights(product: tuple[int, int, int]) -> tuple[int, int, int]:
    """Of the gradient of its right factor."""
    m, k, n = product
    return k, m, n


def flops(products: Iterable[tuple[int, int, int]]) -> float:
    """Floating-point operations."""
    return 2.0 * sum(m * k * n for m, k, n in products)
