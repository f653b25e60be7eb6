"""Merging: what arrives is fitted alone, then merged with its equals.

Components are equal where statistics cannot tell them apart.
"""

__all__ = ["Merging", "equality", "merge"]

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.mixtures.chi_square import chi2_tail
from cl_flow.align.mixtures.engine import POLICIES, MixtureState, log_joint
from cl_flow.align.mixtures.stepwise import Stepwise
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.joining import joined


@dataclass(frozen=True)
class Merging:
    """Merge a mixture of each batch into the one that is there.

    The batch's is fitted by EM, of the size that BIC prefers; each component joins its
    most similar equal.

    Two components are equal when the likelihood-ratio test does not tell their
    Gaussians apart (`equality`); their statistics then merge exactly. What is equal to
    none stays as a new component. A batch is a whole arrival, say a task's data, rather
    than a handful of points.

    Args:
        level: Level of the test; smaller merges more.
        max_components: Components per batch that BIC chooses among, from 1.
        n_iter: Steps of EM.
        ridge: Added to the variances during EM.
        seed: Seeds the places of the components.
    """

    level: float = 0.01
    max_components: int = 4
    n_iter: int = 50
    ridge: float = 1e-6
    seed: int = 0

    def start(self, x: Tensor) -> MixtureState:
        """No component yet."""
        stats = GaussianStats.empty(0, x.shape[1], like=x)
        return MixtureState(stats, age=stats.n)

    def observe(self, state: MixtureState, x: Tensor) -> MixtureState:
        """The state after one more batch (N, D)."""
        new = self._fit(x)
        stats = state.stats
        for k in range(len(new)):
            stats = self._placed(stats, new[k])
        born = state.age.new_zeros(len(stats) - len(state))
        age = torch.cat([state.age, born])
        return dataclasses.replace(
            state,
            stats=stats,
            seen=state.seen + len(x),
            steps=state.steps + 1,
            age=age + len(x),
        )

    def _placed(self, stats: GaussianStats, new: GaussianStats) -> GaussianStats:
        if not len(stats):
            return new
        p = equality(stats, new)
        k = int(p.argmax())
        if p[k] < self.level:
            return joined(stats, new)
        others = torch.arange(len(stats), device=p.device) != k
        merged = stats[k].merge(new)
        return joined(stats[others], merged)

    def _fit(self, x: Tensor) -> GaussianStats:
        """Statistics of the mixture that BIC prefers.

        Sizes whose components would be singular are passed over.
        """
        least = x.shape[1] + 2
        most = max(1, len(x) // least)
        best = GaussianStats.of(x)
        lowest = math.inf
        for k in range(1, min(self.max_components, most) + 1):
            state = self._em(x, k)
            smallest = state.stats.n.min() * len(x)
            if k > 1 and smallest < least:
                continue
            bic = _bic(state, x)
            if bic < lowest:
                log_p = log_joint(state.density, x)
                best = GaussianStats.of(x, log_p.softmax(1))
                lowest = bic
        return best

    def _em(self, x: Tensor, k: int) -> MixtureState:
        """A mixture of k components after EM on all points."""
        em = Stepwise(k, alpha=0.0, ridge=self.ridge, seed=self.seed)
        state = em.start(x)
        for _ in range(self.n_iter):
            state = em.observe(state, x)
        return state


def _bic(state: MixtureState, x: Tensor) -> float:
    k = len(state)
    per_component = _n_moments(x.shape[1])
    n_parameters = k - 1 + k * per_component
    penalty = n_parameters * math.log(len(x))
    log_likelihood = state.log_prob(x).sum().item()
    return penalty - 2 * log_likelihood


def _n_moments(dim: int) -> float:
    """Degrees of freedom of a mean and a covariance."""
    return dim + dim * (dim + 1) / 2


def equality(a: GaussianStats, b: GaussianStats) -> Tensor:
    r"""Test whether components are samples of one Gaussian, by p-value (K,).

    Each component of `a` is held against the one of `b`.

    With C the covariance of both together, $-2\ln\Lambda = n\ln|C| - n_a\ln|C_a| -
    n_b\ln|C_b|$ is χ² with f = D + D(D+1)/2 degrees of freedom for large samples; for
    small ones it is scaled, after Bartlett, by f over its own mean, which digamma
    functions give exactly. The value is 0 where one of the two has too few points,
    below D + 2.

    References:
        An introduction to multivariate statistical analysis, section 10.3 (Anderson,
        2003)
        Highly efficient incremental estimation of Gaussian mixture models for online
        data stream clustering (Song and Wang, 2005)
        https://doi.org/10.1117/12.601724
    """
    first = torch.zeros(len(a), dtype=torch.long, device=a.n.device)
    b = b[first]
    both = a.merge(b)
    dim = a.mean.shape[1]
    ratio = _log_volume(both)
    expected = _mean_log_volume(both.n, dim)
    for one in (a, b):
        ratio = ratio - _log_volume(one)
        expected = expected - _mean_log_volume(one.n, dim)
    dof = _n_moments(dim)
    scaled = ratio * dof / expected
    scaled = scaled.nan_to_num(nan=math.inf)
    p = chi2_tail(scaled.clamp(min=0.0), dof)
    fewer = torch.minimum(a.n, b.n)
    enough = fewer >= dim + 2
    return p.where(enough, torch.zeros_like(p))


def _log_volume(stats: GaussianStats) -> Tensor:
    """n ln|S/n| (K,)."""
    log_det = torch.linalg.slogdet(stats.covariance()).logabsdet
    return stats.n * log_det


def _mean_log_volume(n: Tensor, dim: int) -> Tensor:
    """Mean of n ln|S/n| (K,) over samples of n points.

    They come from a Gaussian of unit covariance.
    """
    half = n[:, None] / 2
    steps = torch.arange(1, dim + 1).to(n)
    dof = (n[:, None] - steps).clamp(min=1e-3)
    log_variances = torch.digamma(dof / 2) - half.log()
    return n * log_variances.sum(1)


@POLICIES
def merge(
    *,
    level: float = 0.01,
    max_components: int = 4,
    n_iter: int = 50,
    ridge: float = 1e-6,
    seed: int = 0,
) -> Merging:
    """New data fitted alone, then components merged where they are equal.

    Equal is what statistics cannot tell apart (`equality`). This is the documented form
    of the family that the method cited as "Ahmad 2006" belongs to; that text itself
    could not be found anywhere.

    References:
        Highly efficient incremental estimation of Gaussian mixture models for online
        data stream clustering (Song and Wang, 2005)
        https://doi.org/10.1117/12.601724
        A method to add Gaussian mixture models (Hall, Hicks and Robinson, 2005)
    """
    return Merging(level, max_components, n_iter, ridge, seed)
