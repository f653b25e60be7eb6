"""Incremental mixtures as aligners.

A class is learned anew, batch by batch, from latents that stand for it.
"""

__all__ = ["headed"]

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cl_flow.align.affine import HEADS
from cl_flow.align.aligners import ALIGNERS, KEPT, Evidence
from cl_flow.align.mixtures.engine import POLICIES, Policy, learn_mixture
from cl_flow.align.one_class import with_frame, with_values
from cl_flow.align.stand_ins import stand_ins_of
from cl_flow.align.statistics.algebra import eye_like
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.calls import refuse_unknown
from cl_flow.model.mixture import Mixture

Maker = Callable[[Tensor, int], tuple[Policy, int]]


def headed(
    mixture: Mixture,
    k: int,
    stats: GaussianStats,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Mixture whose class k has components of its own.

    There are as many of them as it has room for.

    The main center becomes their mean, offsets and weights become theirs, the heaviest
    first; what finds no room counts for the main center. With the head `full` the class
    looks at its latents through the inverse root of the covariance that the components
    share; with `means` its covariance is 1.

    Args:
        mixture: What it was.
        k: Class id.
        stats: The components (J, D).
        head: `"means"` or `"full"`.
        shrinkage: Of the covariance.
    """
    refuse_unknown("head", head, HEADS)
    share = stats.n / stats.n.sum()
    mean = share @ stats.mean
    root = eye_like(mean)
    if head == "full":
        root = _inverse_root(stats, mean, shrinkage)
    heaviest = share.argsort(descending=True)
    n_offsets = 0
    if len(stats) > 1:
        n_offsets = min(len(stats), mixture.n_components - 1)
    order = heaviest[:n_offsets]
    offsets = stats.mean[order] - mean
    delta = torch.zeros(mixture.delta.shape[1:]).to(mean)
    delta[:n_offsets] = offsets @ root.T
    weights = torch.zeros(mixture.n_components).to(mean)
    weights[1 : 1 + n_offsets] = share[order]
    weights[0] = (1 - weights.sum()).clamp(min=0.0)
    psi = weights.clamp(min=1e-6).log()
    if head == "means":
        out = with_values(mixture, k, mu=mean, delta=delta, psi=psi)
        if mixture.frames is None:
            return out
        return with_frame(out, k, root, torch.zeros_like(mean))
    out = with_values(mixture, k, delta=delta, psi=psi)
    mu = mixture.mu[k].detach().to(mean)
    return with_frame(out, k, root, mu - root @ mean)


def _inverse_root(stats: GaussianStats, mean: Tensor, shrinkage: float) -> Tensor:
    """Inverse root (D, D) of the covariance that components share."""
    n = stats.n.sum()
    scatter = stats.scatter.sum(0)
    within = GaussianStats(n[None], mean[None], scatter[None])
    covariance = within.covariance(shrinkage=shrinkage)[0]
    factor = torch.linalg.cholesky(covariance)
    return torch.linalg.inv(factor)


# ---- policies as aligners: latents of a class and room for components -> policy, batch


def _enrol(name: str, maker: Maker) -> None:
    def aligner(
        mixture: Mixture,
        evidence: Evidence,
        *,
        head: str = "full",
        shrinkage: float = 1e-3,
    ) -> Mixture:
        z, y = stand_ins_of(evidence)
        room = max(1, mixture.n_components - 1)
        for k in evidence.classes:
            own = z[y == k].double()
            policy, batch = maker(own, room)
            state = learn_mixture(own, policy, batch=batch)
            mixture = headed(
                mixture,
                k,
                state.components,
                head=head,
                shrinkage=shrinkage,
            )
        return mixture

    KEPT[name] = "features"
    aligner.__name__ = aligner.__qualname__ = name
    aligner.__doc__ = (
        f"Learn each old class anew by `{name}`, from latents that stand for it."
    )
    ALIGNERS(name)(aligner)


def _gated(name: str) -> Maker:
    """Found new components as wide as the class.

    They live through their first D points and are never removed.
    """

    def maker(z: Tensor, room: int) -> tuple[Policy, int]:
        spread = z.std(0, unbiased=False)
        policy = POLICIES[name](
            spread=spread.clamp(min=1e-6),
            prior=z.shape[1],
            min_age=math.inf,
            max_components=room,
        )
        return policy, 256

    return maker


def _online_em(z: Tensor, room: int) -> tuple[Policy, int]:
    """Components of ten points per dimension, four at most, in small steps."""
    enough = len(z) // (10 * z.shape[1])
    n = max(1, min(room, 4, enough))
    policy = POLICIES["online_em"](n_components=n, n_min=128, ridge=1e-4)
    return policy, 64


def _merge(z: Tensor, room: int) -> tuple[Policy, int]:
    """Two arrivals."""
    most = min(room, 3)
    policy = POLICIES["merge"](max_components=most, n_iter=20, ridge=1e-4)
    half = math.ceil(len(z) / 2)
    return policy, half


for _name in ("igmm", "igmn", "figmn"):
    _enrol(_name, _gated(_name))
_enrol("online_em", _online_em)
_enrol("merge", _merge)
