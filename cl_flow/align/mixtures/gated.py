"""IGMM, IGMN and FIGMN.

a point that no component accepts founds a new one, all others are shared out.
"""

__all__ = ["Gated", "figmn", "igmm", "igmn"]

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_flow.align.mixtures.engine import POLICIES, MixtureState, chi2_quantile, joined
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.precision import PrecisionStats


@dataclass(frozen=True)
class Gated:
    r"""Found a component where none accepts a point; share out the rest.

    What stays small is removed.

    A component accepts x when its squared Mahalanobis distance d² is below the gate's.
    An accepted point with responsibilities r gives each component ω = r/(n + r) of its
    own weight, e = x − μ:
    $$\mu' = \mu + \omega e, \qquad C' = (1-\omega)C + \omega(1-\omega)ee^\top,$$
    the weighted maximum-likelihood recursion, in any order and any batches. The papers
    print (1−ω)C + ω e*e*ᵀ − ΔμΔμᵀ with e* = x − μ′ and Δμ = ωe, that is (1−ω)C +
    ω(1−3ω+ω²)eeᵀ, which is no covariance any more once ω > (3−√5)/2 ≈ .382:
    `variant="paper"`, for comparison, point by point.

    A batch first founds what it needs, in order of arrival, and is then shared out as
    one: a batch of 1 is the sequential rule.

    Args:
        tau: A component accepts where its density is at least this share of its
            largest, d² ≤ −2 ln τ.
        beta: In place of `tau`: a component accepts up to the 1−β quantile of χ² with D
            degrees of freedom.
        spread: Standard deviation of a new component, a number or one per dimension; by
            default `delta` times the range of the points that the state is started
            with.
        delta: Share of the range; for `spread=None`.
        min_age: A component older than this many points is removed while its count is
            below `min_count`; None is 2D. The last one always stays. A class that gets
            less than `min_count` in `min_age` points of a shuffled stream is removed
            and founded again and again: infinity turns this off.
        min_count: See `min_age`; None is D + 1.
        max_components: No more are founded; a point that none accepts is then shared
            out.
        prior: Points that the spread counts for in every covariance, beyond the
            founding one; of the order of D where components are to live through their
            first D points.
        calibrate: Whether a component that fits worse than χ² has it, by the mean of
            d²/D over what it has accepted, widens its gate by as much, and by 1 + 1/n
            at least, which an uncertain mean costs. In many dimensions χ² is so narrow
            that a component with a standard deviation 10 % too small would call most of
            its own points new.
        variant: `"exact"` or `"paper"`.
        precision: Whether to keep inverse scatters, O(D²) per point, in place of
            scatters, O(D³).
    """

    tau: float | None = None
    beta: float | None = None
    spread: float | Tensor | None = None
    delta: float = 0.1
    min_age: float | None = None
    min_count: float | None = None
    max_components: int | None = None
    prior: float = 0.0
    calibrate: bool = True
    variant: str = "exact"
    precision: bool = False

    def __post_init__(self) -> None:
        if self.variant not in ("exact", "paper"):
            raise ValueError(
                f"Expected variant='exact' or 'paper'; got {self.variant!r}."
            )
        shares = [share for share in (self.tau, self.beta) if share is not None]
        if len(shares) != 1 or not 0 < shares[0] < 1:
            raise ValueError(
                f"Expected one of tau and beta, between 0 and 1; got {self.tau} and "
                f"{self.beta}."
            )

    def start(self, x: Tensor) -> MixtureState:
        """No component yet.

        `x` gives the spread of those to come, if it is not given.

        Raises:
            ValueError: The spread is not given, and the points do not differ.
        """
        dim = x.shape[1]
        none = GaussianStats.empty(0, x.shape[1], like=x)
        stats = (
            PrecisionStats(none.n, none.mean, none.scatter, none.n)
            if self.precision
            else none
        )
        spread = (
            self.delta * (x.amax(0) - x.amin(0))
            if self.spread is None
            else torch.as_tensor(self.spread).to(x)
        )
        if not (spread > 0).all():
            raise ValueError(
                "Expected points that differ in every dimension, to size new "
                "components by; pass spread."
            )
        return MixtureState(
            stats,
            age=none.n,
            tally=x.new_zeros(0, 2),
            spread=spread.expand(dim),
            prior=self.prior,
        )

    def observe(self, state: MixtureState, x: Tensor) -> MixtureState:
        """The state after one more batch (N, D).

        The paper's variant takes its points one by one.
        """
        if self.variant == "paper" and len(x) > 1:
            for row in x.split(1):
                state = self.observe(state, row)
            return state
        state, shared = self._founded(state, x)
        if len(shared):
            state = self._shared_out(state, shared)
        state = dataclasses.replace(
            state,
            seen=state.seen + len(x),
            steps=state.steps + 1,
            age=state.age + len(x),
        )
        return self._pruned(state)

    # ---- founding

    def _founded(self, state: MixtureState, x: Tensor) -> tuple[MixtureState, Tensor]:
        """Found components at points that none accepts.

        Each is there before the next point is judged; the points left over are returned
        too.
        """
        novel = torch.ones(len(x), dtype=torch.bool, device=x.device)
        if len(state):
            novel = ~(state.current.distances(x)[0] <= self.gates(state)).any(1)
        left = torch.ones_like(novel)
        while novel.any() and (
            self.max_components is None or len(state) < self.max_components
        ):
            first = int(novel.nonzero()[0])
            state = self._with(state, x[first : first + 1])
            left[first] = novel[first] = False
            rest = novel.nonzero()[:, 0]
            newest = dataclasses.replace(
                state, stats=state.stats[-1:], tally=state.tally[-1:]
            )
            novel[rest] = newest.current.distances(x[rest])[0][:, 0] > self.gates(
                newest
            )
        return state, x[left]

    def _with(self, state: MixtureState, x: Tensor) -> MixtureState:
        """State with one more component, of count 1, at a point (1, D)."""
        one = x.new_ones(1)
        new = GaussianStats(
            one, x, (1 + self.prior) * state.spread.square().diag()[None]
        )
        stats = joined(
            state.stats, PrecisionStats.of_stats(new) if self.precision else new
        )
        tally = torch.cat([state.tally, one.expand(1, 2)])
        return dataclasses.replace(
            state, stats=stats, age=torch.cat([state.age, 0 * one]), tally=tally
        )

    def gates(self, state: MixtureState) -> Tensor:
        """d² up to which each component accepts (K,)."""
        dim = state.stats.mean.shape[1]
        fit = state.tally[:, 1] / state.tally[:, 0]
        widening = (
            torch.maximum(fit, 1 + 1 / state.stats.n)
            if self.calibrate
            else torch.ones_like(fit)
        )
        return self._limit(dim) * widening

    def _limit(self, dim: int) -> float:
        return (
            -2 * math.log(self.tau)
            if self.beta is None
            else chi2_quantile(1 - self.beta, dim)
        )

    # ---- sharing out, removing

    def _shared_out(self, state: MixtureState, x: Tensor) -> MixtureState:
        weights = state.responsibilities(x)
        square, _ = state.current.distances(x)
        inside = weights * (square <= self.gates(state))
        tally = torch.stack(
            [inside.sum(0), (inside * square).sum(0) / x.shape[1]], dim=1
        )
        update = _as_printed if self.variant == "paper" else type(state.stats).absorb
        return dataclasses.replace(
            state, stats=update(state.stats, x, weights), tally=state.tally + tally
        )

    def _pruned(self, state: MixtureState) -> MixtureState:
        dim = state.stats.mean.shape[1]
        min_age = 2 * dim if self.min_age is None else self.min_age
        keep = (state.age <= min_age) | (
            state.stats.n >= (dim + 1 if self.min_count is None else self.min_count)
        )
        if keep.all():
            return state
        keep[state.stats.n.argmax()] = True
        return dataclasses.replace(
            state, stats=state.stats[keep], age=state.age[keep], tally=state.tally[keep]
        )


def _as_printed(
    stats: GaussianStats | PrecisionStats, x: Tensor, weights: Tensor
) -> GaussianStats | PrecisionStats:
    """The update of one point (1, D) as the papers print it."""
    n = stats.n + weights[0]
    share = (weights[0] / n)[:, None]
    error = x - stats.mean
    mean = stats.mean + share * error
    if isinstance(stats, PrecisionStats):
        coefficient = n * (share * (1 - 3 * share + share**2))[:, 0]
        return stats.add_outer(n, mean, error, coefficient)
    after = x - mean
    moved = mean - stats.mean
    share = share[:, :, None]
    covariance = (
        (1 - share) * stats.covariance() + share * _outer(after) - _outer(moved)
    )
    return GaussianStats(n, mean, n[:, None, None] * covariance)


def _outer(rows: Tensor) -> Tensor:
    return rows[:, :, None] * rows[:, None, :]


# ---- under the names of the papers


@POLICIES
def igmm(
    *,
    tau: float = 0.01,
    min_age: float | None = 5,
    min_count: float | None = 3,
    **options: Any,
) -> Gated:
    """The incremental Gaussian mixture model.

    Gate by likelihood ratio, small components removed early.

    References:
        Incremental learning of multivariate Gaussian mixture models (Engel and Heinen,
        2010)
        https://doi.org/10.1007/978-3-642-16138-4_9
    """
    return Gated(tau=tau, min_age=min_age, min_count=min_count, **options)


@POLICIES
def igmn(*, beta: float = 0.05, **options: Any) -> Gated:
    """The mixture of the incremental Gaussian mixture network.

    Gate by χ², components judged at an age of 2D.

    References:
        IGMN: an incremental connectionist approach for concept formation, reinforcement
        learning and robotics
        (Heinen and Engel, 2011) https://doi.org/10.4013/jacr.2011.11.01
    """
    return Gated(beta=beta, **options)


@POLICIES
def figmn(*, beta: float = 0.05, **options: Any) -> Gated:
    """IGMN with precisions and log-determinants, updated by rank one.

    The same numbers at O(D²) a point.

    References:
        A fast incremental Gaussian mixture model (Pinto and Engel, 2015)
        https://doi.org/10.1371/journal.pone.0139931
    """
    return Gated(beta=beta, precision=True, **options)
