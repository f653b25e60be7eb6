"""Stand-ins: latents drawn in the place of old classes, and aligners that use them.

Their laws are kept; no image is.
"""

__all__ = [
    "Draws",
    "pushed",
    "pushforward",
    "stand_ins_of",
    "transport",
    "transported",
]

from typing import NamedTuple

import torch
from torch import Tensor

from cl_flow.align.aligners import ALIGNERS, Evidence, Law, Pair
from cl_flow.align.refits import refit
from cl_flow.model.mixture import Mixture

# Median distances from the median beyond which an inverse has exploded.
EXPLODED = 5.0


class Draws(NamedTuple):
    """Latents or patches (N, D), class ids (N,) and grid cells (N,)."""

    x: Tensor
    y: Tensor
    cells: Tensor


@ALIGNERS
def transport(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Refit to draws of latents, carried from the old flow to the new.

    They go back through the old flow and forward through the new one.
    """
    z, y, _ = transported(evidence)
    return refit(mixture, z, y, family=head, shrinkage=shrinkage)


@ALIGNERS
def pushforward(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Refit to draws of backbone features under the flow as it is.

    Features never drift.
    """
    z, y, _ = pushed(evidence)
    return refit(mixture, z, y, family=head, shrinkage=shrinkage)


def stand_ins_of(evidence: Evidence) -> Pair:
    """Latents and class ids of the classes to align.

    Drawn from features, else from latents, else of images.
    """
    if evidence.features is not None:
        return pushed(evidence)[:2]
    if evidence.latents is not None:
        return transported(evidence)[:2]
    return evidence.need("images")


def transported(evidence: Evidence) -> Draws:
    """Draws from the latent laws, under the flow as it is.

    The laws are those under the flow before. Where its inverse explodes, as it does now
    and then where no patch ever was, the draw is left out.
    """
    laws, flow, inverse = evidence.need("latents", "flow", "inverse")
    z, y, cells = _class_draws(evidence, laws)
    x = inverse(z, cells)
    z = flow(x, cells)
    sane = [_near_the_median(z[y == k]) for k in evidence.classes]
    sane = torch.cat(sane)
    return Draws(z[sane], y[sane], cells[sane])


def pushed(evidence: Evidence) -> Draws:
    """Draws from the feature laws, under the flow as it is."""
    laws, flow = evidence.need("features", "flow")
    x, y, cells = _class_draws(evidence, laws)
    return Draws(flow(x, cells), y, cells)


def _near_the_median(z: Tensor) -> Tensor:
    """Latents (N,) within some median distances from the median.

    Of a Gaussian's draws, all are.
    """
    finite = z.isfinite().all(1)
    middle = z[finite].median(0).values
    distance = (z - middle).norm(dim=1)
    most = EXPLODED * distance[finite].median()
    return finite & (distance <= most)


def _class_draws(evidence: Evidence, laws: Law) -> Draws:
    """Draws of every class to align, each at the cell it was drawn for."""
    generator = torch.Generator().manual_seed(evidence.seed)
    n = evidence.n_draws
    drawn = [laws[k].sample(n, generator=generator) for k in evidence.classes]
    x = torch.cat([patches for patches, _ in drawn])
    cells = torch.cat([index for _, index in drawn])
    y = torch.tensor(evidence.classes, device=x.device).repeat_interleave(n)
    return Draws(x, y, cells)
