"""Latents of images under one flow, kept.

Many mixtures can then be held against it without running it again.
"""

__all__ = [
    "Latents",
    "Patches",
    "encode",
    "encoded",
    "refuse_several_flows",
    "through",
]

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_flow.calls import checked
from cl_flow.data.features import Features
from cl_flow.devices import one_thread
from cl_flow.model.flow import FlowModel, Level

# Patches (images, S, D), or their latents and log-determinants (images, S).
Patches = Tensor | tuple[Tensor, Tensor]


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
        """Batches of latents and log-determinants, in consecutive order.

        Args:
            size: Images at a time.

        Yields:
            Per level the latents (images, S, D) and log-determinants (images, S).
        """
        for start in range(0, len(self), size):
            chosen = slice(start, start + size)
            rows = self.rows[chosen]
            log_dets = []
            for level in self.log_dets:
                values = np.asarray(level[rows])
                log_dets.append(torch.from_numpy(values))
            yield list(zip(self.read(chosen), log_dets))


@checked
@torch.inference_mode()
@one_thread
def encode(model: FlowModel, features: Features) -> Latents:
    """Encode every image under a model's flows.

    Latents and log-determinants, in memory.

    Raises:
        ValueError: The model has weights or conditions of some classes alone: a patch
            then has no latent by itself.
    """
    refuse_several_flows(model)
    batches = []
    for batch in encoded(model, features):
        kept = [(z.cpu(), log_det.cpu()) for z, log_det in batch]
        batches.append(kept)
    levels = []
    log_dets = []
    by_level = zip(*batches)
    for level, pairs in zip(model.levels, by_level, strict=True):
        shape = (len(features), len(level.codes))
        z, log_det = (torch.cat(parts) for parts in zip(*pairs))
        levels.append(z.view(*shape, -1).numpy())
        log_dets.append(log_det.view(shape).numpy())
    samples = features.samples.reset_index(drop=True)
    return Latents(
        samples,
        tuple(levels),
        features.grids,
        np.arange(len(samples)),
        log_dets=tuple(log_dets),
    )


def refuse_several_flows(model: FlowModel) -> None:
    """Refuse a model whose flow depends on the class.

    Raises:
        ValueError: It has weights or conditions of some classes alone.
    """
    if model.own or any(level.class_codes is not None for level in model.levels):
        raise ValueError(
            "Expected a model with one flow for all classes; got one whose flow "
            "depends on the class."
        )


@checked
def encoded(
    model: FlowModel,
    features: Features,
    *,
    size: int = 32,
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Encode images batch by batch.

    Per batch of `size` images and per level, latents (N, D) and log |det ∂z/∂x| (N,),
    on the model's device.
    """
    for batch in features.batches(size):
        pairs = zip(model.levels, batch)
        yield [through(level, x) for level, x in pairs]


def through(
    level: Level,
    x: Patches,
    y: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Latents (N, D) and log-determinants (N,) of patches, image after image.

    Latents and theirs pass as they are.

    Args:
        level: One level of a model; its flow is not run where x are latents already.
        x: Patches, or latents and log-determinants, as a batch of `Features` or
            `Latents` holds them.
        y: Class ids (images,), for a flow that depends on them.
    """
    if isinstance(x, tuple):
        z, log_det = x
        z = z.flatten(0, 1).to(level.codes)
        log_det = log_det.flatten().to(level.codes)
        return z, log_det
    # As stored, half as many bytes; the precision is the device's affair.
    patches = x.flatten(0, 1).to(level.codes.device).to(level.codes.dtype)
    return level(patches, y=y)
