"""Online EM: a fixed number of components.

The sufficient statistics are a running mean over batches.
"""

__all__ = ["Stepwise", "online_em"]

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.mixtures.engine import POLICIES, MixtureState, seeded
from cl_flow.align.statistics.algebra import eye_like, over_matrices, over_vectors
from cl_flow.align.statistics.gaussian import GaussianStats


@dataclass(frozen=True)
class Stepwise:
    r"""Move the statistics towards those of each batch.

    Then the parameters go to where the statistics have them.

    $$s \leftarrow (1-\gamma_t)\,s + \gamma_t\,\bar s(\text{batch}),
    \qquad \gamma_t = (t + t_0)^{-\alpha},$$
    with s̄ the mean statistics under the responsibilities of the parameters so far. A
    step of γ = 1 on all data is a step of EM. At α = 1 every point counts alike and the
    rule is IGMN's, whose components have clocks of their own.

    Args:
        n_components: Components K, placed by k-means++ among the points that the state
            is started with.
        alpha: Decay of γ in (½, 1]; 0 keeps γ at 1, plain EM on each batch.
        t0: Offset of the clock, 1 or more.
        n_min: Points before the parameters first move.
        ridge: Added to the variances.
        average: Whether the density is the mean of the parameters over the steps
            (Polyak and Ruppert).
        seed: Seeds the places of the components.
    """

    n_components: int = 2
    alpha: float = 0.6
    t0: float = 2.0
    n_min: int = 0
    ridge: float = 1e-6
    average: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        decays = self.alpha == 0 or 0.5 < self.alpha <= 1
        if not decays or self.t0 < 1 or self.n_components < 1:
            raise ValueError(
                "Expected alpha of 0 or in (½, 1], t0 ≥ 1 and n_components ≥ 1; "
                f"got {self.alpha}, {self.t0} and {self.n_components}."
            )

    def start(self, x: Tensor) -> MixtureState:
        """Components at points of `x` (N, D) far from each other."""
        generator = torch.Generator().manual_seed(self.seed)
        stats = seeded(x, self.n_components, generator=generator)
        return self.start_at(stats)

    def start_at(self, stats: GaussianStats) -> MixtureState:
        """Components given by their statistics.

        The counts are scaled to a sum of 1.
        """
        stats = stats.decay(1 / stats.n.sum())
        age = torch.zeros_like(stats.n)
        return MixtureState(stats, age=age, fitted=stats)

    def observe(self, state: MixtureState, x: Tensor) -> MixtureState:
        """The state after one more batch (N, D)."""
        rate = (state.steps + self.t0) ** -self.alpha
        weights = state.responsibilities(x) * (rate / len(x))
        past = state.stats.decay(1 - rate)
        state = dataclasses.replace(
            state,
            stats=past.absorb(x, weights),
            seen=state.seen + len(x),
            steps=state.steps + 1,
            age=state.age + len(x),
        )
        if state.seen < self.n_min:
            return state
        return self._fitted(state)

    def _fitted(self, state: MixtureState) -> MixtureState:
        """The state whose parameters are where the statistics have them."""
        fitted = _ridged(state.stats, self.ridge)
        # The tally counts the parameters that the mean is over.
        tally = torch.ones_like(fitted.n)
        if state.tally is not None:
            tally = state.tally + tally
        average = None
        if self.average:
            average = _mean(state.average, fitted, tally)
        return dataclasses.replace(
            state,
            fitted=fitted,
            average=average,
            tally=tally,
        )


def _ridged(stats: GaussianStats, ridge: float) -> GaussianStats:
    added = ridge * over_matrices(stats.n) * eye_like(stats.mean)
    return dataclasses.replace(stats, scatter=stats.scatter + added)


def _mean(
    before: GaussianStats | None,
    stats: GaussianStats,
    count: Tensor,
) -> GaussianStats:
    """The running mean of weights, means and covariances."""
    if before is None:
        return stats
    share = 1 / count
    n = torch.lerp(before.n, stats.n, share)
    mean = torch.lerp(before.mean, stats.mean, over_vectors(share))
    covariance = torch.lerp(
        before.covariance(),
        stats.covariance(),
        over_matrices(share),
    )
    return GaussianStats(n, mean, over_matrices(n) * covariance)


@POLICIES
def online_em(
    *,
    n_components: int = 2,
    alpha: float = 0.6,
    t0: float = 2.0,
    n_min: int = 0,
    ridge: float = 1e-6,
    average: bool = False,
    seed: int = 0,
) -> Stepwise:
    """Online EM, stepwise over batches of any size.

    References:
        On-line expectation-maximization algorithm for latent data models (Cappé and
        Moulines, 2009)
        https://arxiv.org/abs/0712.4273
        Online EM for unsupervised models (Liang and Klein, 2009)
        https://aclanthology.org/N09-1069
    """
    return Stepwise(n_components, alpha, t0, n_min, ridge, average, seed)
