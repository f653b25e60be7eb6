"""Engine: a Gaussian mixture learned from a stream under a policy.

It takes one batch after another.
"""

__all__ = [
    "MixtureState",
    "POLICIES",
    "Policy",
    "learn_mixture",
    "log_joint",
    "seeded",
]

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cl_flow.align.statistics.algebra import over_matrices
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.precision import PrecisionStats
from cl_flow.calls import checked
from cl_flow.registry import Registry

POLICIES: Registry = Registry("policy")


@dataclass(frozen=True)
class MixtureState:
    """A mixture on its way.

    What it has accumulated, and the density that it stands for.

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
        """Components of the density, their weights in proportion to counts."""
        if self.average is not None:
            return self.average
        return self.current

    @property
    def current(self) -> GaussianStats | PrecisionStats:
        """The components that the next batch is shared out by."""
        if self.fitted is not None:
            return self.fitted
        if not self.prior:
            return self.stats
        n = self.stats.n
        return self.stats.inflated(n / (n + self.prior))

    @property
    def components(self) -> GaussianStats:
        """Components of the density with scatters, in whatever form they are kept."""
        density = self.density
        if isinstance(density, PrecisionStats):
            return density.to_stats()
        return density

    def __len__(self) -> int:
        return len(self.stats)

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) (N,) of points (N, D)."""
        log_p = log_joint(self.density, x)
        return log_p.logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """Responsibilities p(k | x) (N, K).

        The next batch is shared out by them.

        Raises:
            ValueError: A density is not a number: a covariance has become indefinite.
        """
        log_p = log_joint(self.current, x)
        if log_p.isnan().any():
            raise ValueError(
                "Expected covariances that are positive definite; got one that is not. "
                "The paper's update loses them once a point's share of its component "
                "exceeds .382; variant='exact' never does."
            )
        return log_p.softmax(1)

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw `n` points (n, D) and their components (n,), in order of components."""
        components = self.components
        weights = components.n.cpu().double()
        k = torch.multinomial(
            weights,
            n,
            replacement=True,
            generator=generator,
        )
        counts = k.bincount(minlength=len(components))
        drawn = []
        for j, count in enumerate(counts.tolist()):
            if count:
                draws = components[j].sample(count, generator=generator)
                drawn.append(draws[0])
        return torch.cat(drawn), k.sort().values

    @property
    def nbytes(self) -> int:
        """Bytes that keeping the mixture takes."""
        return self.density.nbytes

    def __repr__(self) -> str:
        return f"MixtureState({len(self)} components after {self.seen} points)"


class Policy(Protocol):
    """Rule by which a mixture takes in a batch.

    A policy is immutable: all that is learned is in the state.
    """

    def start(self, x: Tensor) -> MixtureState:
        """The state before the first batch.

        `x` (N, D) are points to size or place it by.
        """
        ...

    def observe(self, state: MixtureState, x: Tensor) -> MixtureState:
        """The state after one more batch (N, D)."""
        ...


@checked
def learn_mixture(
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

    Example:
        >>> from cl_flow.align import POLICIES
        >>> noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> x = noise + 20.0 * (torch.arange(400) % 2)[:, None]
        >>> policy = POLICIES["figmn"]()
        >>> first = learn_mixture(x[:300], policy, batch=100)
        >>> learn_mixture(x[300:], policy, state=first, batch=100)
        MixtureState(2 components after 400 points)
    """
    if x.ndim != 2 or not len(x) or (batch is not None and batch < 1):
        raise ValueError(
            "Expected points (N, D), at least one, and batch ≥ 1; "
            f"got {tuple(x.shape)} and {batch}."
        )
    if state is None:
        state = policy.start(x)
    for part in x.split(batch or len(x)):
        state = policy.observe(state, part)
    return state


def log_joint(stats: GaussianStats | PrecisionStats, x: Tensor) -> Tensor:
    """Joint log-density ln p(k) + ln p(x | k) (N, K).

    The weights are in proportion to the counts.
    """
    share = stats.n / stats.n.sum()
    return stats.log_prob(x) + share.log()


def seeded(x: Tensor, k: int, *, generator: torch.Generator) -> GaussianStats:
    """Components at `k` points (N, D) far from each other.

    All are as wide as the data, with unit weight in all; the points are chosen by
    k-means++.

    References:
        k-means++: the advantages of careful seeding (Arthur and Vassilvitskii, 2007)
        https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf

    Raises:
        ValueError: There are fewer distinct points than components.
    """
    if len(x) < k:
        raise ValueError(
            "Expected at least as many points as components to place them at; "
            f"got {len(x)} and {k}."
        )
    first = torch.randint(len(x), (1,), generator=generator)
    chosen = x[first.to(x.device)]
    for _ in range(k - 1):
        distance = torch.cdist(x, chosen).amin(1)
        square = distance.square()
        if not square.any():
            raise ValueError(
                f"Expected {k} distinct points to place components at; "
                f"got {len(chosen)}."
            )
        one = torch.multinomial(square.cpu(), 1, generator=generator)
        chosen = torch.cat([chosen, x[one.to(x.device)]])
    variance = x.var(0, unbiased=False).clamp(min=1e-12)
    n = x.new_full((k,), 1 / k)
    scatter = over_matrices(n) * variance.diag()
    return GaussianStats(n, chosen, scatter)
