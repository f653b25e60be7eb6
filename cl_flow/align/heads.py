"""Incremental mixtures as aligners.

a class is learnt anew, batch by batch, from latents that stand for it.
"""

__all__ = ["headed"]

from collections.abc import Callable

import torch
from torch import Tensor

from cl_flow.align.aligners import (
    ALIGNERS,
    HEADS,
    KEPT,
    Evidence,
    frames_of,
    pushed,
    transported,
)
from cl_flow.align.mixtures.engine import POLICIES, Policy, learn_mixture
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.model.mixture import Mixture

# Latents of a class and room for components -> policy, batch.
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
    if head not in HEADS:
        raise KeyError(f"Unknown head {head!r}; known: {', '.join(HEADS)}.")
    share = stats.n / stats.n.sum()
    mean = share @ stats.mean
    order = (
        share.argsort(descending=True)[: mixture.n_components - 1]
        if len(stats) > 1
        else share.new_empty(0).long()
    )
    root = torch.eye(mixture.dim).to(mean)
    bias = torch.zeros_like(mean)
    mu = mean
    if head == "full":
        within = GaussianStats(
            stats.n.sum()[None], mean[None], stats.scatter.sum(0, keepdim=True)
        )
        factor = torch.linalg.cholesky(within.covariance(shrinkage=shrinkage)[0])
        root = torch.linalg.inv(factor)
        mu = mixture.mu[k].detach().to(mean)
        bias = mu - root @ mean
    delta = torch.zeros(mixture.delta.shape[1:]).to(mean)
    weights = torch.zeros(mixture.n_components).to(mean)
    delta[: len(order)] = (stats.mean[order] - mean) @ root.T
    weights[1 : 1 + len(order)] = share[order]
    weights[0] = (1 - weights.sum()).clamp(min=0.0)
    return _with(mixture, k, mu, delta, weights.clamp(min=1e-6).log(), root, bias)


def _with(
    mixture: Mixture,
    k: int,
    mu: Tensor,
    delta: Tensor,
    psi: Tensor,
    weight: Tensor,
    bias: Tensor,
) -> Mixture:
    """The mixture with one class set; frames only where one is needed."""
    rows = {
        name: getattr(mixture, name).detach().clone() for name in ("mu", "delta", "psi")
    }
    for name, values in {"mu": mu, "delta": delta, "psi": psi}.items():
        rows[name][k] = values.to(rows[name])
    out = mixture.replace(**rows)
    plain = bool(
        (bias == 0).all() and torch.equal(weight, torch.eye(len(bias)).to(weight))
    )
    if plain and mixture.frames is None:
        return out
    W, c = (values.clone() for values in frames_of(mixture))
    W[k], c[k] = weight.to(W), bias.to(c)
    return out.framed(W, c)


def _stand_ins(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """Latents and class ids of the classes to align.

    Drawn from features, else from latents, else of images.
    """
    if evidence.features is not None:
        return pushed(evidence)
    if evidence.latents is not None:
        return transported(evidence)
    return evidence.need("images")


def _enrol(name: str, maker: Maker) -> None:
    def aligner(
        mixture: Mixture,
        evidence: Evidence,
        *,
        head: str = "full",
        shrinkage: float = 1e-3,
    ) -> Mixture:
        z, y = _stand_ins(evidence)
        for k in evidence.classes:
            own = z[y == k].double()
            policy, batch = maker(own, max(1, mixture.n_components - 1))
            components = learn_mixture(own, policy, batch=batch).components
            mixture = headed(mixture, k, components, head=head, shrinkage=shrinkage)
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
        spread = z.std(0, unbiased=False).clamp(min=1e-6)
        return POLICIES[name](
            spread=spread, prior=z.shape[1], min_age=float("inf"), max_components=room
        ), 256

    return maker


def _online_em(z: Tensor, room: int) -> tuple[Policy, int]:
    """Components of ten points per dimension, four at most, in small steps."""
    n = max(1, min(room, 4, len(z) // (10 * z.shape[1])))
    return POLICIES["online_em"](n_components=n, n_min=128, ridge=1e-4), 64


def _merge(z: Tensor, room: int) -> tuple[Policy, int]:
    """Two arrivals."""
    return POLICIES["merge"](max_components=min(room, 3), n_iter=20, ridge=1e-4), -(
        -len(z) // 2
    )


for _name in ("igmm", "igmn", "figmn"):
    _enrol(_name, _gated(_name))
_enrol("online_em", _online_em)
_enrol("merge", _merge)
