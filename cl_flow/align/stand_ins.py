"""Stand-ins: latents drawn in the place of old classes, and aligners that use them.

Their laws are kept; no image is.
"""

__all__ = ["pushed", "pushforward", "stand_ins_of", "transport", "transported"]

import torch
from torch import Tensor

from cl_flow.align.aligners import ALIGNERS, Evidence, Law, Pair
from cl_flow.align.mixtures.engine import MixtureState
from cl_flow.align.refits import refit
from cl_flow.align.statistics.algebra import over_matrices
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.model.mixture import Mixture

# Median distances from the median beyond which an inverse has exploded.
EXPLODED = 5.0
# Share of a law's draws that are kept, the likeliest.
INNER = 0.95


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
    z, y = transported(evidence)
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
    z, y = pushed(evidence)
    return refit(mixture, z, y, family=head, shrinkage=shrinkage)


def stand_ins_of(evidence: Evidence) -> Pair:
    """Latents and class ids of the classes to align.

    Drawn from features, else from latents, else of images.
    """
    if evidence.features is not None:
        return pushed(evidence)
    if evidence.latents is not None:
        return transported(evidence)
    return evidence.need("images")


def transported(evidence: Evidence) -> Pair:
    """Latents and class ids of draws from the latent laws, under the flow as it is.

    The laws are those under the flow before. Where its inverse explodes, as it does now
    and then where no patch ever was, the draw is left out.
    """
    laws, flow, inverse = evidence.need("latents", "flow", "inverse")
    z, y, cells = _class_draws(evidence, laws)
    x = inverse(z, cells)
    z = flow(x, cells)
    sane = [_near_the_median(z[y == k]) for k in evidence.classes]
    sane = torch.cat(sane)
    return z[sane], y[sane]


def pushed(evidence: Evidence) -> Pair:
    """Latents and class ids of draws from the feature laws, under the flow as it is."""
    laws, flow = evidence.need("features", "flow")
    x, y, cells = _class_draws(evidence, laws)
    return flow(x, cells), y


def _near_the_median(z: Tensor) -> Tensor:
    """Latents (N,) within some median distances from the median.

    Of a Gaussian's draws, all are.
    """
    finite = z.isfinite().all(1)
    middle = z[finite].median(0).values
    distance = (z - middle).norm(dim=1)
    most = EXPLODED * distance[finite].median()
    return finite & (distance <= most)


def _class_draws(evidence: Evidence, law: Law) -> tuple[Tensor, Tensor, Tensor]:
    """Draws of every class to align, class ids, and cells drawn uniformly.

    No draw lies in a law's outer twentieth.
    """
    generator = torch.Generator().manual_seed(evidence.seed)
    n = evidence.n_draws
    draws = [_inner(law[k], n, generator) for k in evidence.classes]
    z = torch.cat(draws)
    y = torch.tensor(evidence.classes, device=z.device).repeat_interleave(n)
    cells = torch.randint(
        evidence.n_cells,
        (len(y),),
        generator=generator,
    )
    return z, y, cells.to(z.device)


def _inner(stats: GaussianStats, n: int, generator: torch.Generator) -> Tensor:
    """`n` draws, the likeliest of some more.

    A flow was never trained on what lies far out, and inverts it badly.
    """
    state = MixtureState(_regular(stats))
    n_drawn = int(n / INNER) + 1
    draws, _ = state.sample(n_drawn, generator=generator)
    likeliest = state.log_prob(draws).topk(n)
    return draws[likeliest.indices]


def _regular(stats: GaussianStats, *, shrinkage: float = 1e-3) -> GaussianStats:
    """With covariances of full rank, in single precision too."""
    covariance = stats.covariance(shrinkage=shrinkage)
    scatter = over_matrices(stats.n) * covariance
    return GaussianStats(stats.n, stats.mean, scatter)
