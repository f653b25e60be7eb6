"""Gated mixtures: IGMM, IGMN and FIGMN.

A point that no component accepts founds a new one, all others are shared out.
"""

__all__ = ["Gated", "figmn", "igmm", "igmn"]

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_flow.align.mixtures.chi_square import chi2_quantile
from cl_flow.align.mixtures.engine import POLICIES, MixtureState
from cl_flow.align.statistics.algebra import outer, over_matrices, over_vectors
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.joining import joined
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
                "Expected one of tau and beta, between 0 and 1; "
                f"got {self.tau} and {self.beta}."
            )

    def start(self, x: Tensor) -> MixtureState:
        """No component yet.

        `x` gives the spread of those to come, if it is not given.

        Raises:
            ValueError: The spread is not given, and the points do not differ.
        """
        dim = x.shape[1]
        stats = none = GaussianStats.empty(0, dim, like=x)
        if self.precision:
            stats = PrecisionStats(none.n, none.mean, none.scatter, none.n)
        spread = self._spread(x)
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

    def _spread(self, x: Tensor) -> Tensor:
        """Standard deviation of a new component, per dimension or for all."""
        if self.spread is not None:
            return torch.as_tensor(self.spread).to(x)
        reach = x.amax(0) - x.amin(0)
        return self.delta * reach

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

    def _founded(
        self,
        state: MixtureState,
        x: Tensor,
    ) -> tuple[MixtureState, Tensor]:
        """Found components at points that none accepts.

        Each is there before the next point is judged; the points left over are returned
        too.
        """
        novel = torch.ones(len(x), dtype=torch.bool, device=x.device)
        left = torch.ones_like(novel)
        if len(state):
            square, _ = state.current.distances(x)
            accepted = square <= self.gates(state)
            novel = ~accepted.any(1)
        while novel.any() and self._has_room(state):
            first = int(novel.nonzero()[0])
            state = self._with(state, x[first : first + 1])
            novel[first] = False
            left[first] = False
            rest = novel.nonzero()[:, 0]
            newest = dataclasses.replace(
                state,
                stats=state.stats[-1:],
                tally=state.tally[-1:],
            )
            square, _ = newest.current.distances(x[rest])
            novel[rest] = square[:, 0] > self.gates(newest)
        return state, x[left]

    def _has_room(self, state: MixtureState) -> bool:
        most = self.max_components
        return most is None or len(state) < most

    def _with(self, state: MixtureState, x: Tensor) -> MixtureState:
        """State with one more component, of count 1, at a point (1, D)."""
        one = x.new_ones(1)
        variance = state.spread.square()
        scatter = (1 + self.prior) * variance.diag()
        new = GaussianStats(one, x, scatter[None])
        if self.precision:
            new = PrecisionStats.of_stats(new)
        begun = x.new_ones(1, 2)
        return dataclasses.replace(
            state,
            stats=joined(state.stats, new),
            age=torch.cat([state.age, 0 * one]),
            tally=torch.cat([state.tally, begun]),
        )

    def gates(self, state: MixtureState) -> Tensor:
        """d² up to which each component accepts (K,)."""
        stats = state.stats
        limit = self._limit(stats.mean.shape[1])
        count, fit = state.tally.T
        widening = torch.ones_like(fit)
        if self.calibrate:
            uncertainty = 1 + 1 / stats.n
            widening = torch.maximum(fit / count, uncertainty)
        return limit * widening

    def _limit(self, dim: int) -> float:
        if self.beta is None:
            return -2 * math.log(self.tau)
        return chi2_quantile(1 - self.beta, dim)

    # ---- sharing out, removing

    def _shared_out(self, state: MixtureState, x: Tensor) -> MixtureState:
        stats = state.stats
        weights = state.responsibilities(x)
        square, _ = state.current.distances(x)
        accepted = square <= self.gates(state)
        inside = weights * accepted
        count = inside.sum(0)
        total = (inside * square).sum(0)
        fit = total / x.shape[1]
        added = torch.stack([count, fit], dim=1)
        if self.variant == "paper":
            stats = _as_printed(stats, x, weights)
        else:
            stats = stats.absorb(x, weights)
        tally = state.tally + added
        return dataclasses.replace(state, stats=stats, tally=tally)

    def _pruned(self, state: MixtureState) -> MixtureState:
        n = state.stats.n
        dim = state.stats.mean.shape[1]
        min_age = self.min_age
        if min_age is None:
            min_age = 2 * dim
        min_count = self.min_count
        if min_count is None:
            min_count = dim + 1
        young = state.age <= min_age
        large = n >= min_count
        keep = young | large
        if keep.all():
            return state
        keep[n.argmax()] = True
        return dataclasses.replace(
            state,
            stats=state.stats[keep],
            age=state.age[keep],
            tally=state.tally[keep],
        )


def _as_printed(
    stats: GaussianStats | PrecisionStats,
    x: Tensor,
    weights: Tensor,
) -> GaussianStats | PrecisionStats:
    """The update of one point (1, D) as the papers print it."""
    added = weights[0]
    n = stats.n + added
    share = added / n
    error = x - stats.mean
    mean = stats.mean + over_vectors(share) * error
    if isinstance(stats, PrecisionStats):
        factor = 1 - 3 * share + share**2
        coefficient = n * (share * factor)
        return stats.add_outer(n, mean, error, coefficient)
    share = over_matrices(share)
    after = x - mean
    moved = mean - stats.mean
    kept = (1 - share) * stats.covariance()
    new = share * outer(after, after)
    covariance = kept + new - outer(moved, moved)
    return GaussianStats(n, mean, over_matrices(n) * covariance)


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
        learning and robotics (Heinen and Engel, 2011)
        https://doi.org/10.4013/jacr.2011.11.01
    """
    return Gated(beta=beta, **options)


@POLICIES
def figmn(*, beta: float = 0.05, **options: Any) -> Gated:
    """IGMN with precisions and log-determinants, updated by rank one.

    It has the same numbers at O(D²) a point.

    References:
        A fast incremental Gaussian mixture model (Pinto and Engel, 2015)
        https://doi.org/10.1371/journal.pone.0139931
    """
    return Gated(beta=beta, precision=True, **options)
