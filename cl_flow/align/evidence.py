"""Evidence for aligners, from models and what is kept of old classes."""

__all__ = ["carried", "gathered", "realigned", "stitched", "with_latents"]

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from cl_flow.align.affine import frames_of
from cl_flow.align.aligners import ALIGNERS, Evidence, Map, Pair
from cl_flow.align.law_fits import LawOptions, fitted_law
from cl_flow.align.laws import ClassLaws
from cl_flow.align.stand_ins import transported
from cl_flow.data.features import Features
from cl_flow.model.flow import FlowModel, Level
from cl_flow.model.mixture import Mixture

# Patches of the newest task that show the drift.
DRIFT_PATCHES = 4096


@torch.no_grad()
def gathered(
    old: FlowModel,
    model: FlowModel,
    newest: Features,
    *,
    features: ClassLaws | None = None,
    latents: ClassLaws | None = None,
    n_draws: int = 2048,
    seed: int = 0,
) -> list[Evidence]:
    """Per level the evidence for all classes of the old model.

    Args:
        old: The model before the newest task.
        model: The model as it is.
        newest: Training images of the newest task; some of their patches, under both
            flows, are the drift.
        features: Laws of the old classes' features.
        latents: Laws of their latents under the old model.
        n_draws: Latents to draw per class where they are drawn.
        seed: Seeds the draws.
    """
    evidence = []
    pairs = zip(old.levels, model.levels)
    for i, (before, after) in enumerate(pairs):
        x, cells = _some_patches(newest, i, after)
        then, _ = before(x, cells)
        now, _ = after(x, cells)
        known = Evidence(
            classes=tuple(range(old.n_classes)),
            drift=(then, now),
            features=features.level(i) if features else None,
            latents=latents.level(i) if latents else None,
            flow=_forward(after),
            inverse=_backward(before),
            n_draws=n_draws,
            seed=seed + i,
        )
        evidence.append(known)
    return evidence


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
    align = ALIGNERS[aligner]
    levels = zip(old, new, evidence, strict=True)
    out = []
    for before, after, known in levels:
        mixture = stitched(before, after)
        out.append(align(mixture, known, head=head))
    return out


def stitched(old: Mixture, new: Mixture) -> Mixture:
    """Classes of `old`, followed by those that only `new` has."""
    k = old.n_classes
    rows = {}
    for name in ("mu", "delta", "psi"):
        before = getattr(old, name)
        after = getattr(new, name)[k:]
        rows[name] = torch.cat([before, after]).detach()
    out = new.replace(**rows)
    if old.frames is new.frames is None:
        return out
    before = frames_of(old)
    after = frames_of(new)
    weight = torch.cat([before.weight, after.weight[k:]])
    bias = torch.cat([before.bias, after.bias[k:]])
    return out.framed(weight, bias)


@torch.no_grad()
def carried(
    evidence: Sequence[Evidence], options: LawOptions | None = None
) -> ClassLaws:
    """The latent laws after a task.

    They are those of the old laws' draws, carried from the old flow into the new.
    """
    options = options or LawOptions()
    levels = []
    for known in evidence:
        draws = transported(known)
        generator = torch.Generator().manual_seed(known.seed)
        laws = []
        for k, before in (known.latents or {}).items():
            own = draws.y == k
            patches = draws.x[own], draws.cells[own]
            n = int(own.sum())
            law = fitted_law(
                [patches], n, before.places.cpu(), options, generator=generator
            )
            laws.append(law)
        levels.append(laws)
    return ClassLaws([list(laws) for laws in zip(*levels)])


def with_latents(evidence: Sequence[Evidence], latents: ClassLaws) -> list[Evidence]:
    """The evidence with other latent laws."""
    return [
        dataclasses.replace(known, latents=latents.level(i))
        for i, known in enumerate(evidence)
    ]


def _forward(level: Level) -> Map:
    @torch.no_grad()
    def flow(x: Tensor, cells: Tensor) -> Tensor:
        z, _ = level(x.to(level.codes), cells)
        return z

    return flow


def _backward(level: Level) -> Map:
    @torch.no_grad()
    def inverse(z: Tensor, cells: Tensor) -> Tensor:
        x, _ = level.inverse(z.to(level.codes), cells)
        return x

    return inverse


def _some_patches(images: Features, i: int, level: Level) -> Pair:
    """Patches (N, D) of level i and their cells.

    They come from images spread evenly over those given.
    """
    n_cells = len(level.codes)
    enough = max(1, DRIFT_PATCHES // n_cells)
    n = min(len(images), enough)
    places = torch.linspace(0, len(images) - 1, n)
    rows = places.round().long()
    chosen = images.take(rows.numpy())
    x = chosen.read()[i].flatten(0, 1)
    x = x.to(level.codes)
    cells = torch.arange(n_cells, device=x.device)
    return x, cells.repeat(n)
