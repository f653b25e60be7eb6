"""The engine: a Gaussian mixture learnt from a stream, one batch after another, under a
policy of one's choice.
"""

__all__ = [
    "MixtureState",
    "POLICIES",
    "Policy",
    "chi2_quantile",
    "chi2_tail",
    "joined",
    "learn",
    "log_joint",
    "seeded",
]

from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.precision import PrecisionStats
from cl_flow.registry import Registry

POLICIES: Registry = Registry("policy")
Stats = TypeVar("Stats", GaussianStats, PrecisionStats)


@dataclass(frozen=True)
class MixtureState:
    """A mixture on its way: what it has accumulated, and the density that it stands
    for.

    Args:
        stats: Statistics that the next batch is added to, K components.
        seen: Points seen so far.
        steps: Batches seen so far.
        age: Points seen since each component was created (K,).
        tally: Per component how many points its gate accepted, and the sum of their
            d²/D (K, 2); both begin at 1.
        spread: Standard deviation of a component that is founded (D,).
        prior: Weight of the spread in every covariance: (S + prior·spread²)/(n +
            prior).
        fitted: The components that responsibilities are computed with, where these lag
            behind the statistics.
        average: The running mean of the fitted parameters, where one is kept.
    """

    stats: GaussianStats | PrecisionStats
    seen: int = 0
    steps: int = 0
    age: Tensor | None = None
    tally: Tensor | None = None
    spread: Tensor | None = None
    prior: float = 0.0
    fitted: GaussianStats | None = None
    average: GaussianStats | None = None

    @property
    def density(self) -> GaussianStats | PrecisionStats:
        """The components of the density, their weights in proportion to their counts."""
        return self.current if self.average is None else self.average

    @property
    def current(self) -> GaussianStats | PrecisionStats:
        """The components that the next batch is shared out by."""
        if self.fitted is not None:
            return self.fitted
        return (
            self.stats.inflated(self.stats.n / (self.stats.n + self.prior))
            if self.prior
            else self.stats
        )

    @property
    def components(self) -> GaussianStats:
        """Those of the density with their scatters, whatever form they are kept in."""
        return (
            self.density.to_stats()
            if isinstance(self.density, PrecisionStats)
            else self.density
        )

    def __len__(self) -> int:
        return len(self.stats)

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) (N,) of points (N, D)."""
        return log_joint(self.density, x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x) (N, K) under the components that the next batch is shared out by.

        Raises:
            ValueError: A density is not a number: a covariance has become indefinite.
        """
        log_p = log_joint(self.current, x)
        if log_p.isnan().any():
            raise ValueError(
                "Expected covariances that are positive definite; got one that is not. The paper's update loses them "
                "once a point's share of its component exceeds .382; variant='exact' never does."
            )
        return log_p.softmax(1)

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """`n` draws (n, D) from the mixture, and the component of each (n,)."""
        components = self.components
        k = torch.multinomial(
            components.n.cpu().double(), n, replacement=True, generator=generator
        )
        counts = k.bincount(minlength=len(components))
        drawn = [
            components[j].sample(int(count), generator=generator)[0]
            for j, count in enumerate(counts)
            if count
        ]
        return torch.cat(drawn), k.sort().values

    @property
    def nbytes(self) -> int:
        """Bytes that keeping the mixture takes."""
        return self.density.nbytes

    def __repr__(self) -> str:
        return f"MixtureState({len(self)} components after {self.seen} points)"


class Policy(Protocol):
    """How a mixture takes in a batch. A policy is immutable: all that is learnt is in
    the state.
    """

    def start(self, x: Tensor) -> MixtureState:
        """The state before the first batch; `x` (N, D) are points to size or place it
        by.
        """
        ...

    def observe(self, state: MixtureState, x: Tensor) -> MixtureState:
        """The state after one more batch (N, D)."""
        ...


def learn(
    x: Tensor,
    policy: Policy,
    *,
    state: MixtureState | None = None,
    batch: int | None = None,
) -> MixtureState:
    """The mixture after a stream of points (N, D).

    Args:
        x: Points (N, D), in the order they arrive.
        policy: What to do with them, from `POLICIES`.
        state: The mixture so far; a new one by default.
        batch: Points at a time; 1 is the sequential rule of the papers, None takes all
            at once.

    Raises:
        ValueError: The points are no matrix, or there are none.
    """
    if x.ndim != 2 or not len(x) or (batch is not None and batch < 1):
        raise ValueError(
            f"Expected points (N, D), at least one, and batch ≥ 1; got {tuple(x.shape)} and {batch}."
        )
    state = policy.start(x) if state is None else state
    for part in x.split(batch or len(x)):
        state = policy.observe(state, part)
    return state


def log_joint(stats: GaussianStats | PrecisionStats, x: Tensor) -> Tensor:
    """ln p(k) + ln p(x | k) (N, K), the weights in proportion to the counts."""
    return stats.log_prob(x) + (stats.n / stats.n.sum()).log()


def joined(a: Stats, b: Stats) -> Stats:
    """The components of both, one after the other."""
    return type(a)(
        **{
            name: torch.cat([values, getattr(b, name)])
            for name, values in vars(a).items()
        }
    )


def seeded(x: Tensor, k: int, *, generator: torch.Generator) -> GaussianStats:
    """`k` components at points (N, D) far from each other, all as wide as the data:
    k-means++, unit weight in all.

    References:
        k-means++: the advantages of careful seeding (Arthur and Vassilvitskii, 2007)
        https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf

    Raises:
        ValueError: There are fewer distinct points than components.
    """
    if len(x) < k:
        raise ValueError(
            f"Expected at least as many points as components to place them at; got {len(x)} and {k}."
        )
    chosen = x[torch.randint(len(x), (1,), generator=generator).to(x.device)]
    for _ in range(k - 1):
        square = torch.cdist(x, chosen).amin(1).square()
        if not square.any():
            raise ValueError(
                f"Expected {k} distinct points to place components at; got {len(chosen)}."
            )
        chosen = torch.cat(
            [
                chosen,
                x[torch.multinomial(square.cpu(), 1, generator=generator).to(x.device)],
            ]
        )
    variance = x.var(0, unbiased=False).clamp(min=1e-12)
    n = x.new_full((k,), 1 / k)
    return GaussianStats(n, chosen, n[:, None, None] * variance.diag())


def chi2_tail(value: Tensor, dof: float) -> Tensor:
    """P(χ² > value) with `dof` degrees of freedom."""
    return torch.special.gammaincc(torch.full_like(value, dof / 2), value / 2)


@cache
def chi2_quantile(level: float, dof: float) -> float:
    """The value that χ² with `dof` degrees of freedom stays below with probability
    `level`, by bisection.
    """
    if not 0 < level < 1:
        raise ValueError(f"Expected a probability in (0, 1); got {level}.")
    low, high = (
        torch.zeros((), dtype=torch.float64),
        torch.tensor(dof + 100.0 + 20 * dof**0.5, dtype=torch.float64),
    )
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if chi2_tail(middle, dof) > 1 - level else (low, middle)
        )
    return middle.item()
