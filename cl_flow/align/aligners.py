"""Aligners: they move a mixture after its flow has moved.

Their evidence needs no image of an old class.
"""

__all__ = [
    "ALIGNERS",
    "Aligner",
    "Evidence",
    "HEADS",
    "KEPT",
    "Law",
    "centers",
    "frames_of",
    "moved",
    "pushed",
    "transport",
    "transported",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_flow.align.mixtures.engine import MixtureState
from cl_flow.align.refits import refit
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.model.mixture import Mixture
from cl_flow.registry import Registry

ALIGNERS: Registry = Registry("aligner")
HEADS = ("means", "full")

# Of old classes; the others, nothing.
KEPT = {
    "refit": "images",
    "transport": "latents",
    "pushforward": "features",
}

Law = Mapping[int, GaussianStats]
Map = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Evidence:
    """Evidence of one level about classes learnt before.

    An aligner takes what it needs of it.

    Args:
        classes: Ids of the classes to align; all others keep their bits.
        drift: Latents of the newest task's patches under the flow before that task, and
            of the same under the flow as it is, (n, D) each.
        features: Per class the Gaussians of its backbone features, which never drift.
        latents: Per class the Gaussians of its latents under the flow before the task:
            the empirical law, taken when they were last at hand.
        images: Latents (N, D) and class ids (N,) of the classes' own patches under the
            flow as it is; whoever has these is an oracle, or keeps exemplars.
        flow: Patches (N, D) and their grid cells (N,) to latents (N, D) under the flow
            as it is.
        inverse: Latents and cells back to patches, under the flow before the task.
        n_cells: Cells of the grid.
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
    n_cells: int = 1
    n_draws: int = 2048
    seed: int = 0

    def need(self, *names: str) -> Any:
        """Evidence that is asked for, or an error that names what is missing.

        One value comes by itself, several as a list.

        Raises:
            ValueError: With the names of what is missing.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"Expected evidence with {', '.join(names)}; got none of "
                f"{', '.join(missing)}."
            )
        values = [getattr(self, name) for name in names]
        return values[0] if len(values) == 1 else values


Aligner = Callable[..., Mixture]
"""`(mixture, evidence, *, head, shrinkage) -> mixture`, pure.

`head` is `"means"` or `"full"`.
"""


def moved(
    mixture: Mixture,
    classes: tuple[int, ...],
    weight: Tensor,
    bias: Tensor,
    *,
    head: str = "full",
) -> Mixture:
    r"""Mixture after the latents of some classes moved by z′ = Az + b.

    With the head `full` the class moves along, shape and all: a class that looks at u =
    Wz + c then looks at $WA^{-1}z' + c - WA^{-1}b$, and its density at z′ is that at z
    over |det A|. With `means` only its main center goes where the map takes it, and
    everything else of the class goes with the center.

    Args:
        mixture: What it was.
        classes: Ids of the classes that moved (n,).
        weight: A (n, D, D).
        bias: b (n, D).
        head: `"means"` or `"full"`.

    Raises:
        KeyError: Unknown head.
    """
    if head not in HEADS:
        raise KeyError(f"Unknown head {head!r}; known: {', '.join(HEADS)}.")
    ids = list(classes)
    mu = mixture.mu.detach().clone()
    weight = weight.to(mu)
    bias = bias.to(mu)
    if head == "means" and mixture.frames is None:
        mu[ids] = (weight @ mu[ids, :, None])[..., 0] + bias
        return mixture.replace(mu=mu)
    W, c = (values.clone() for values in frames_of(mixture))
    if head == "means":
        z = centers(mixture)[ids]
        c[ids] -= (W[ids] @ ((weight @ z[..., None])[..., 0] + bias - z)[..., None])[
            ..., 0
        ]
        return mixture.framed(W, c)
    W[ids] = torch.linalg.solve(weight.mT, W[ids].mT).mT
    c[ids] -= (W[ids] @ bias[..., None])[..., 0]
    return mixture.framed(W, c)


def frames_of(mixture: Mixture) -> Pair:
    """The frames, identities where there are none.

    Weights (K, D, D) and biases (K, D).
    """
    if mixture.frames is not None:
        return mixture.frames
    mu = mixture.mu.detach()
    return torch.eye(mixture.dim).to(mu).repeat(len(mu), 1, 1), torch.zeros_like(mu)


def centers(mixture: Mixture) -> Tensor:
    """Main centers (K, D) among the latents.

    There u = Wz + b is mu.
    """
    if mixture.frames is None:
        return mixture.mu.detach()
    weight, bias = mixture.frames
    return torch.linalg.solve(weight, (mixture.mu - bias).detach()[..., None])[..., 0]


# ---- nothing, and the oracle


@ALIGNERS
def identity(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """The mixture as it is."""
    return mixture


@ALIGNERS("refit")
def refit_images(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Every class refitted to latents of its own images.

    The oracle where these are all images, else exemplars.
    """
    z, y = evidence.need("images")
    return refit(mixture, z, y, family=head, shrinkage=shrinkage)


# ---- by the drift of the newest task's own patches


@ALIGNERS
def mean_shift(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Move every old class by the mean drift of the new task's patches."""
    before, after = _drift(evidence)
    return _along(
        mixture, evidence, torch.eye(mixture.dim), (after - before).mean(0), head
    )


@ALIGNERS
def procrustes(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Move every old class by the best rigid map of new patches.

    It is the rotation and shift that carries the new task's patches best.

    References:
        A generalized solution of the orthogonal Procrustes problem (Schönemann, 1966)
        https://doi.org/10.1007/BF02289451
    """
    before, after = _drift(evidence)
    left, _, right = torch.linalg.svd(
        (after - after.mean(0)).T @ (before - before.mean(0))
    )
    rotation = left @ right
    return _along(
        mixture, evidence, rotation, after.mean(0) - rotation @ before.mean(0), head
    )


@ALIGNERS
def sdc(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
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
    near = torch.cdist(
        centers(mixture)[list(evidence.classes)].to(before), before
    ).square()
    shift = (-near / (2 * mixture.dim)).softmax(1) @ (after - before)
    return moved(
        mixture,
        evidence.classes,
        torch.eye(mixture.dim).repeat(len(shift), 1, 1),
        shift,
        head=head,
    )


@ALIGNERS
def ldc(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Learnable drift compensation.

    One affine map of all latents, by ridge regression towards the identity.

    References:
        Exemplar-free continual representation learning via learnable drift compensation
        (Gomez-Villa et al., 2024)
        https://arxiv.org/abs/2407.08536
    """
    before, after = _drift(evidence)
    x = before - before.mean(0)
    y = after - after.mean(0)
    gram = x.T @ x
    eye = torch.eye(mixture.dim).to(x)
    ridge = shrinkage * gram.diagonal().mean() * eye
    weight = torch.linalg.solve(gram + ridge, x.T @ y + ridge).T
    return _along(
        mixture, evidence, weight, after.mean(0) - weight @ before.mean(0), head
    )


def _drift(evidence: Evidence) -> Pair:
    before, after = evidence.need("drift")
    return before.double(), after.double()


def _along(
    mixture: Mixture, evidence: Evidence, weight: Tensor, bias: Tensor, head: str
) -> Mixture:
    """All classes moved by one map."""
    n = len(evidence.classes)
    return moved(
        mixture, evidence.classes, weight.repeat(n, 1, 1), bias.repeat(n, 1), head=head
    )


# ---- by draws that stand for the old classes


@ALIGNERS
def transport(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Refit to draws of latents, carried from the old flow to the new.

    They go back through the old flow and forward through the new one.
    """
    return refit(mixture, *transported(evidence), family=head, shrinkage=shrinkage)


@ALIGNERS
def pushforward(
    mixture: Mixture, evidence: Evidence, *, head: str = "full", shrinkage: float = 1e-3
) -> Mixture:
    """Refit to draws of backbone features under the flow as it is.

    Features never drift.
    """
    return refit(mixture, *pushed(evidence), family=head, shrinkage=shrinkage)


def transported(evidence: Evidence) -> Pair:
    """Latents of draws from the laws under the flow before.

    Under the flow as it is, with their class ids.

    Where the old flow's inverse explodes, as it does now and then where no patch ever
    was, the draw is left out.
    """
    laws, flow, inverse = evidence.need("latents", "flow", "inverse")
    z, y, cells = _class_draws(evidence, laws)
    z = flow(inverse(z, cells), cells)
    sane = torch.cat([_near_the_median(z[y == k]) for k in evidence.classes])
    return z[sane], y[sane]


def _near_the_median(z: Tensor, *, times: float = 5.0) -> Tensor:
    """Latents (N,) within so many times the median distance from the median.

    Of a Gaussian's draws, all are.
    """
    finite = z.isfinite().all(1)
    distance = (z - z[finite].median(0).values).norm(dim=1)
    return finite & (distance <= times * distance[finite].median())


def pushed(evidence: Evidence) -> Pair:
    """Latents and class ids of draws from the feature laws.

    Under the flow as it is.
    """
    laws, flow = evidence.need("features", "flow")
    x, y, cells = _class_draws(evidence, laws)
    return flow(x, cells), y


def _class_draws(evidence: Evidence, law: Law) -> tuple[Tensor, Tensor, Tensor]:
    """Draws of every class to align, class ids, and cells drawn uniformly.

    No draw lies in a law's outer twentieth.
    """
    generator = torch.Generator().manual_seed(evidence.seed)
    n = evidence.n_draws
    draws = [_inner(law[k], n, generator) for k in evidence.classes]
    y = torch.tensor(evidence.classes, device=draws[0].device).repeat_interleave(n)
    cells = torch.randint(evidence.n_cells, (len(y),), generator=generator).to(y.device)
    return torch.cat(draws), y, cells


def _inner(
    stats: GaussianStats, n: int, generator: torch.Generator, *, kept: float = 0.95
) -> Tensor:
    """`n` draws, the likeliest `kept` of more.

    a flow was never trained on what lies far out, and inverts it badly.
    """
    state = MixtureState(_regular(stats))
    draws, _ = state.sample(int(n / kept) + 1, generator=generator)
    chosen = state.log_prob(draws).topk(n).indices
    return draws[chosen]


def _regular(stats: GaussianStats, *, shrinkage: float = 1e-3) -> GaussianStats:
    """With covariances of full rank, in single precision too."""
    covariance = stats.covariance(shrinkage=shrinkage)
    return GaussianStats(stats.n, stats.mean, stats.n[:, None, None] * covariance)
