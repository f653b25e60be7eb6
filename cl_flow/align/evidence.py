"""Evidence for aligners, from models and what is kept of old classes."""

__all__ = ["carried", "gathered", "realigned", "stitched", "with_latents"]

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cl_flow.align import ALIGNERS, Evidence, GaussianStats
from cl_flow.align.aligners import frames_of, transported
from cl_flow.align.laws import Gaussians, joined
from cl_flow.data.features import Features
from cl_flow.model.flow import FlowModel, Level
from cl_flow.model.mixture import Mixture

DRIFT_PATCHES = 4096


@torch.no_grad()
def gathered(
    old: FlowModel,
    model: FlowModel,
    newest: Features,
    *,
    features: Gaussians | None = None,
    latents: Gaussians | None = None,
    n_draws: int = 2048,
    seed: int = 0,
) -> list[Evidence]:
    """Per level the evidence for all classes of the old model.

    Args:
        old: The model before the newest task.
        model: The model as it is.
        newest: Training images of the newest task; some of their patches, under both
            flows, are the drift.
        features: Gaussians of the old classes' features.
        latents: Gaussians of their latents under the old model.
        n_draws: Latents to draw per class where they are drawn.
        seed: Seeds the draws.
    """
    out = []
    for i, (before, after) in enumerate(zip(old.levels, model.levels)):
        x, cells = _some_patches(newest, i, after)
        out.append(
            Evidence(
                classes=tuple(range(old.n_classes)),
                drift=(before(x, cells)[0], after(x, cells)[0]),
                features=_laws(features, i),
                latents=_laws(latents, i),
                flow=_forward(after),
                inverse=_backward(before),
                n_cells=len(after.codes),
                n_draws=n_draws,
                seed=seed + i,
            )
        )
    return out


def realigned(
    old: Sequence[Mixture],
    new: Sequence[Mixture],
    evidence: Sequence[Evidence],
    aligner: str,
    *,
    head: str = "full",
) -> list[Mixture]:
    """Mixtures whose old classes are aligned, one a level.

    The old ones start from where they were before the task; the new ones stay as the
    task left them.
    """
    return [
        ALIGNERS[aligner](stitched(before, after), known, head=head)
        for before, after, known in zip(old, new, evidence, strict=True)
    ]


def stitched(old: Mixture, new: Mixture) -> Mixture:
    """Classes of `old`, followed by those that only `new` has."""
    k = old.n_classes
    rows = {}
    for name in ("mu", "delta", "psi"):
        rows[name] = torch.cat([getattr(old, name), getattr(new, name)[k:]]).detach()
    out = new.replace(**rows)
    if old.frames is new.frames is None:
        return out
    frames = zip(frames_of(old), frames_of(new), strict=True)
    return out.framed(*(torch.cat([before, after[k:]]) for before, after in frames))


@torch.no_grad()
def carried(evidence: Sequence[Evidence]) -> Gaussians:
    """The latent laws after a task.

    The moments of the old laws' draws, carried from the old flow into the new.
    """
    levels = []
    for known in evidence:
        z, y = transported(known)
        levels.append(joined([GaussianStats.of(z[y == k]) for k in known.classes]))
    return Gaussians(levels)


def with_latents(evidence: Sequence[Evidence], latents: Gaussians) -> list[Evidence]:
    """The evidence with other latent laws."""
    return [
        dataclasses.replace(known, latents=_laws(latents, i))
        for i, known in enumerate(evidence)
    ]


def _laws(kept: Gaussians | None, level: int) -> dict[int, GaussianStats] | None:
    if kept is None:
        return None
    stats = kept.levels[level]
    m = kept.n_components
    return {k: stats[k * m : (k + 1) * m] for k in range(kept.n_classes)}


def _forward(level: Level) -> Callable[[Tensor, Tensor], Tensor]:
    return torch.no_grad()(lambda x, cells: level(x.to(level.codes), cells)[0])


def _backward(level: Level) -> Callable[[Tensor, Tensor], Tensor]:
    return torch.no_grad()(lambda z, cells: level.inverse(z.to(level.codes), cells)[0])


def _some_patches(images: Features, i: int, level: Level) -> tuple[Tensor, Tensor]:
    """Patches (N, D) of level i and their cells.

    They come from images spread evenly over those given.
    """
    n_cells = len(level.codes)
    n = min(len(images), max(1, DRIFT_PATCHES // n_cells))
    chosen = images.take(torch.linspace(0, len(images) - 1, n).round().long().numpy())
    x = chosen.read()[i].flatten(0, 1).to(level.codes)
    return x, torch.arange(n_cells, device=x.device).repeat(n)
