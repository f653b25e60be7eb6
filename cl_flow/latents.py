"""What one flow makes of images, kept: many mixtures can then be held against it without running it again."""

__all__ = ["Latents", "encode", "encoded"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_flow.features import Features
from cl_flow.flow import FlowModel


@dataclass(frozen=True)
class Latents(Features):
    """Images as one flow sees them: `levels` hold latents z (images, S, D) where `Features` hold patches.

    `calibrate` and `score` take them in place of the features they were made of; the model at hand then lends its
    mixtures only.

    Args:
        log_dets: Per level log |det ∂z/∂x| (images, S).
    """

    log_dets: tuple[np.ndarray, ...] = ()

    def read_log_dets(self, indices: Sequence[int] | slice = slice(None)) -> list[Tensor]:
        """Per level the log-determinants (images, S) of the images at the given positions."""
        rows = self.rows[indices]
        return [torch.from_numpy(np.asarray(level[rows])) for level in self.log_dets]


@torch.inference_mode()
def encode(model: FlowModel, features: Features) -> Latents:
    """The latents and log-determinants of every image under a model's flows, in memory."""
    batches = [[(z.cpu(), d.cpu()) for z, d in batch] for batch in encoded(model, features)]
    shapes = [(len(features), len(level.codes)) for level in model.levels]
    z, log_dets = (
        [torch.cat([batch[i][j] for batch in batches]).view(*shape, -1).numpy() for i, shape in enumerate(shapes)]
        for j in (0, 1)
    )
    samples = features.samples.reset_index(drop=True)
    return Latents(
        samples, tuple(z), features.grids, np.arange(len(samples)), log_dets=tuple(d[..., 0] for d in log_dets)
    )


def encoded(model: FlowModel, features: Features, *, size: int = 32) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Per batch of `size` images and per level, latents (N, D) and log |det ∂z/∂x| (N,) on the model's device.

    Args:
        model: The flows; not run where `features` are latents already.
        features: Patches, or latents.
        size: Images per batch.
    """
    for start in range(0, len(features), size):
        images = slice(start, start + size)
        batch = [x.flatten(0, 1).to(level.codes) for level, x in zip(model.levels, features.read(images))]
        if isinstance(features, Latents):
            log_dets = features.read_log_dets(images)
            yield [(z, d.flatten().to(z)) for z, d in zip(batch, log_dets)]
        else:
            yield [level(x) for level, x in zip(model.levels, batch)]
