"""Aligners: they move a mixture after its flow has moved.

Their evidence needs no image of an old class.
"""

__all__ = ["ALIGNERS", "Aligner", "Evidence", "KEPT", "Law", "Map", "Pair"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_flow.align.affine import (
    HEADS,  # noqa: F401  (its former place, for one release)
    centers,
    moved,
)
from cl_flow.align.laws import PatchLaw
from cl_flow.align.refits import refit
from cl_flow.align.statistics.algebra import eye_like
from cl_flow.model.mixture import Mixture
from cl_flow.registry import Registry

ALIGNERS: Registry = Registry("aligner")

# Aligner -> what it keeps of old classes; the others keep nothing.
KEPT = {
    "refit": "images",
    "transport": "latents",
    "pushforward": "features",
}

Law = Mapping[int, PatchLaw]
Map = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Evidence:
    """Evidence of one level about classes learned before.

    An aligner takes what it needs of it.

    Args:
        classes: Ids of the classes to align; all others keep their bits.
        drift: Latents of the newest task's patches under the flow before that task, and
            of the same under the flow as it is, (n, D) each.
        features: Per class the law of its backbone features, which never drifts.
        latents: Per class the law of its latents under the flow before the task, taken
            when they were last at hand.
        images: Latents (N, D) and class ids (N,) of the classes' own patches under the
            flow as it is; whoever has these has all images, or keeps exemplars.
        flow: Patches (N, D) and their grid cells (N,) to latents (N, D) under the flow
            as it is.
        inverse: Latents and cells back to patches, under the flow before the task.
        n_draws: Latents to draw per class where they are drawn.
        seed: Seeds the draws.
    """

    classes: tuple[int, ...]
    drift: Pair | None = None
    features: Law | None = None
    latents: Law | None = None
    images: Pair | None = None
    flow: Map | None = None
    inverse: Map | None = None
    n_draws: int = 2048
    seed: int = 0

    def need(self, *names: str) -> Any:
        """Evidence that is asked for, or an error that names what is missing.

        One value comes by itself, several as a list.

        Raises:
            ValueError: With the names of what is missing.
        """
        values = [getattr(self, name) for name in names]
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            expected = ", ".join(names)
            absent = ", ".join(missing)
            raise ValueError(
                f"Expected evidence with {expected}; got none of {absent}."
            )
        if len(values) == 1:
            return values[0]
        return values


Aligner = Callable[..., Mixture]
"""`(mixture, evidence, *, head, shrinkage) -> mixture`, pure.

`head` is `"means"` or `"full"`.
"""


# ---- nothing, and the refit


@ALIGNERS
def identity(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """The mixture as it is."""
    return mixture


@ALIGNERS("refit")
def refit_images(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Every class refitted to latents of its own images.

    The upper bound where these are all images, else exemplars.
    """
    z, y = evidence.need("images")
    return refit(mixture, z, y, family=head, shrinkage=shrinkage)


# ---- by the drift of the newest task's own patches


@ALIGNERS
def mean_shift(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Move every old class by the mean drift of the new task's patches.

    Example:
        >>> from cl_flow.align import ALIGNERS, Evidence
        >>> mixture = Mixture(2, n_components=1).expand(2, init="orthogonal")
        >>> z = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
        >>> evidence = Evidence(classes=(0,), drift=(z, z + 3.0))
        >>> after = ALIGNERS["mean_shift"](mixture, evidence, head="means")
        >>> step = after.mu - mixture.mu
        >>> step.detach().round().tolist()
        [[3.0, 3.0], [0.0, 0.0]]
    """
    before, after = _drift(evidence)
    shift = (after - before).mean(0)
    weight = torch.eye(mixture.dim)
    return _along(mixture, evidence, weight, shift, head)


@ALIGNERS
def procrustes(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Move every old class by the best rigid map of new patches.

    It is the rotation and shift that carries the new task's patches best.

    References:
        A generalized solution of the orthogonal Procrustes problem (Schönemann, 1966)
        https://doi.org/10.1007/BF02289451
    """
    before, after = _drift(evidence)
    start = before.mean(0)
    goal = after.mean(0)
    cross = (after - goal).T @ (before - start)
    left, _, right = torch.linalg.svd(cross)
    rotation = left @ right
    shift = goal - rotation @ start
    return _along(mixture, evidence, rotation, shift, head)


@ALIGNERS
def sdc(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    r"""Semantic drift compensation.

    Each center moves as the new patches near it do.

    Weights are $\exp(-\|z - \mu_k\|^2 / 2\sigma^2)$ with σ² = D, the squared radius of
    a class.

    References:
        Semantic drift compensation for class-incremental learning (Yu et al., 2020)
        https://arxiv.org/abs/2004.00440
    """
    before, after = _drift(evidence)
    mu = centers(mixture)[list(evidence.classes)]
    square = torch.cdist(mu.to(before), before).square()
    near = (-square / (2 * mixture.dim)).softmax(1)
    shift = near @ (after - before)
    weight = torch.eye(mixture.dim).repeat(len(shift), 1, 1)
    return moved(mixture, evidence.classes, weight, shift, head=head)


@ALIGNERS
def ldc(
    mixture: Mixture,
    evidence: Evidence,
    *,
    head: str = "full",
    shrinkage: float = 1e-3,
) -> Mixture:
    """Learnable drift compensation.

    One affine map of all latents, by ridge regression towards the identity.

    References:
        Exemplar-free continual representation learning via learnable drift compensation
        (Gomez-Villa et al., 2024)
        https://arxiv.org/abs/2407.08536
    """
    before, after = _drift(evidence)
    start = before.mean(0)
    goal = after.mean(0)
    x = before - start
    y = after - goal
    gram = x.T @ x
    level = gram.diagonal().mean()
    ridge = shrinkage * level * eye_like(x)
    weight = torch.linalg.solve(gram + ridge, x.T @ y + ridge).T
    shift = goal - weight @ start
    return _along(mixture, evidence, weight, shift, head)


def _drift(evidence: Evidence) -> Pair:
    before, after = evidence.need("drift")
    return before.double(), after.double()


def _along(
    mixture: Mixture,
    evidence: Evidence,
    weight: Tensor,
    bias: Tensor,
    head: str,
) -> Mixture:
    """All classes moved by one map."""
    n = len(evidence.classes)
    weights = weight.repeat(n, 1, 1)
    biases = bias.repeat(n, 1)
    return moved(mixture, evidence.classes, weights, biases, head=head)
