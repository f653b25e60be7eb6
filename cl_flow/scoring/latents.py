"""Latents of images under one flow, kept.

Many mixtures can then be held against it without running it again.
"""

__all__ = ["Latents", "encode", "encoded", "through"]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.devices import one_thread
from cl_flow.model.flow import FlowModel, Level


@dataclass(frozen=True)
class Latents(Features):
    """Images as one flow sees them.

    `levels` hold latents z (images, S, D) where `Features` hold patches.

    `calibrate` and `score` take them in place of the features they were made of; the
    model at hand then lends its mixtures only.

    Args:
        log_dets: Per level log |det ∂z/∂x| (images, S).
    """

    log_dets: tuple[np.ndarray, ...] = ()

    def batches(self, size: int = 32) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Batches of latents (images, S, D) and log-determinants, per level.

        The latter (images, S); in consecutive order.
        """
        for start in range(0, len(self), size):
            rows = self.rows[start : start + size]
            log_dets = [
                torch.from_numpy(np.asarray(level[rows])) for level in self.log_dets
            ]
            yield list(zip(self.read(slice(start, start + size)), log_dets))


@torch.inference_mode()
@one_thread
def encode(model: FlowModel, features: Features) -> Latents:
    """Encode every image under a model's flows.

    Latents and log-determinants, in memory.

    Raises:
        ValueError: The model has weights or conditions of some classes alone: a patch
            then has no latent by itself.
    """
    if model.own or any(level.class_codes is not None for level in model.levels):
        raise ValueError(
            "Expected a model with one flow for all classes; got one whose flow "
            "depends on the class."
        )
    batches = [
        [(z.cpu(), d.cpu()) for z, d in batch] for batch in encoded(model, features)
    ]
    shapes = [(len(features), len(level.codes)) for level in model.levels]
    z, log_dets = (
        [
            torch.cat([batch[i][j] for batch in batches]).view(*shape, -1).numpy()
            for i, shape in enumerate(shapes)
        ]
        for j in (0, 1)
    )
    samples = features.samples.reset_index(drop=True)
    return Latents(
        samples,
        tuple(z),
        features.grids,
        np.arange(len(samples)),
        log_dets=tuple(d[..., 0] for d in log_dets),
    )


def encoded(
    model: FlowModel, features: Features, *, size: int = 32
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Encode images batch by batch.

    Per batch of `size` images and per level, latents (N, D) and log |det ∂z/∂x| (N,),
    on the model's device.
    """
    for batch in features.batches(size):
        yield [through(level, x) for level, x in zip(model.levels, batch)]


def through(
    level: Level, x: Tensor | tuple[Tensor, Tensor], y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Latents (N, D) and log-determinants (N,) of patches (images, S, D).

    Latents and theirs pass as they are.

    Args:
        level: One level of a model; its flow is not run where x are latents already.
        x: Patches, or latents and log-determinants, as a batch of `Features` or
            `Latents` holds them.
        y: Class ids (images,), for a flow that depends on them.
    """
    if isinstance(x, tuple):
        z, log_det = x
        return z.flatten(0, 1).to(level.codes), log_det.flatten().to(level.codes)
    return level(x.flatten(0, 1).to(level.codes), y=y)
