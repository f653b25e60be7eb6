"""Gaussian statistics of any number of components.

Count, mean and centered scatter, merged exactly in any order.
"""

__all__ = ["GaussianStats", "LOG_2PI"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.statistics.algebra import (
    eye_like,
    outer,
    over_matrices,
    over_vectors,
    positive,
)

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class GaussianStats:
    r"""Weighted counts, means and centered scatters of K components.

    For points `x` with responsibilities `r` these are $n = \sum r$, $m = \sum r x / n$
    and $S = \sum r (x − m)(x − m)^\top$. Two such triples merge into that of the union,
    so that a stream may be cut into batches anywhere and visited in any order.

    References:
        Algorithms for computing the sample variance (Chan, Golub and LeVeque, 1983)
        https://doi.org/10.1080/00031305.1983.10483115

    Args:
        n: Weighted counts (K,).
        mean: Means (K, D); that of an empty component is 0.
        scatter: Centered scatters (K, D, D).

    Example:
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> whole = GaussianStats.of(x)
        >>> merged = GaussianStats.of(x[:40]).merge(GaussianStats.of(x[40:]))
        >>> merged
        GaussianStats(components=1, dim=3, n=100)
        >>> torch.allclose(merged.mean, whole.mean, atol=1e-6)
        True
        >>> torch.allclose(merged.scatter, whole.scatter, rtol=1e-4, atol=1e-4)
        True
    """

    n: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(
        cls,
        k: int,
        dim: int,
        *,
        like: Tensor | None = None,
    ) -> "GaussianStats":
        """`k` components that have seen nothing."""
        if like is None:
            like = torch.empty(0)
        n = like.new_zeros(k)
        mean = like.new_zeros(k, dim)
        scatter = like.new_zeros(k, dim, dim)
        return cls(n, mean, scatter)

    @classmethod
    def of(
        cls,
        x: Tensor,
        weights: Tensor | None = None,
    ) -> "GaussianStats":
        """The statistics of points, of one component or of several.

        Args:
            x: Points (N, D).
            weights: Responsibilities (N, K) of K components; one component by default.

        Raises:
            ValueError: The points are no matrix, a weight is negative, or there are not
                as many weights as points.
        """
        if weights is None:
            weights = x.new_ones(len(x), 1)
        _check_points(x, weights)
        n = weights.sum(0)
        sums = weights.T @ x
        mean = sums / over_vectors(positive(n))
        scatters = []
        for m, w in zip(mean, weights.T):
            centered = x - m
            weighted = centered * over_vectors(w)
            scatters.append(weighted.T @ centered)
        return cls(n, mean, torch.stack(scatters))

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, k: int | slice | Tensor) -> "GaussianStats":
        """The statistics of some components; an integer selects one."""
        if isinstance(k, int) and k >= 0:
            k = slice(k, k + 1)
        return GaussianStats(self.n[k], self.mean[k], self.scatter[k])

    # ---- accumulating

    def merge(self, other: "GaussianStats") -> "GaussianStats":
        """Component by component the statistics of both together.

        With δ the difference of the means: n = nₐ + n_b, m = mₐ + δ n_b/n, S = Sₐ + S_b
        + δδᵀ nₐn_b/n.

        Raises:
            ValueError: The two differ in components or dimensions.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                "Expected statistics of one shape (K, D); "
                f"got {tuple(self.mean.shape)} and {tuple(other.mean.shape)}."
            )
        n = self.n + other.n
        share = other.n / positive(n)
        delta = other.mean - self.mean
        mean = self.mean + over_vectors(share) * delta
        weight = self.n * share
        between = outer(over_vectors(weight) * delta, delta)
        scatter = self.scatter + other.scatter + between
        return GaussianStats(n, mean, scatter)

    def absorb(self, x: Tensor, weights: Tensor) -> "GaussianStats":
        """Statistics with points added by their responsibilities.

        Args:
            x: Points (N, D).
            weights: Responsibilities (N, K).
        """
        new = GaussianStats.of(x, weights)
        return self.merge(new)

    def decay(self, factor: float | Tensor) -> "GaussianStats":
        """The same means and covariances with `factor` times the weight.

        It is how much the past counts from now on.
        """
        factor = torch.as_tensor(factor, dtype=self.n.dtype, device=self.n.device)
        factor = factor.expand_as(self.n)
        n = self.n * factor
        scatter = self.scatter * over_matrices(factor)
        return GaussianStats(n, self.mean, scatter)

    def inflated(self, factor: Tensor) -> "GaussianStats":
        """The same counts and means with `factor` (K,) times the covariances."""
        scatter = self.scatter * over_matrices(factor)
        return GaussianStats(self.n, self.mean, scatter)

    # ---- the Gaussians

    def covariance(self, *, shrinkage: float = 0.0) -> Tensor:
        """Covariances S/n (K, D, D), shrunk towards the sphere of equal trace.

        0 where n is 0.
        """
        n = positive(self.n)
        covariance = self.scatter / over_matrices(n)
        if not shrinkage:
            return covariance
        variances = covariance.diagonal(dim1=1, dim2=2)
        level = over_matrices(variances.mean(1))
        sphere = shrinkage * level * eye_like(self.mean)
        return (1 - shrinkage) * covariance + sphere

    def log_prob(
        self,
        x: Tensor,
        *,
        shrinkage: float = 0.0,
    ) -> Tensor:
        """Log-density log N(x; m, S/n) (N, K) of points (N, D) under every component.

        Raises:
            ValueError: A covariance is singular: fewer points than dimensions, and no
                shrinkage.
        """
        square, log_det = self.distances(x, shrinkage=shrinkage)
        constant = x.shape[1] * LOG_2PI
        return -0.5 * (square + log_det + constant)

    def distances(
        self,
        x: Tensor,
        *,
        shrinkage: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Squared Mahalanobis distances of points (N, D) to every component.

        Returns:
            The distances (N, K), and ln|S/n| (K,).
        """
        factor = self._cholesky(shrinkage)
        delta = (x[None] - self.mean[:, None]).mT
        white = torch.linalg.solve_triangular(factor, delta, upper=False)
        square = white.square().sum(1)
        diagonal = factor.diagonal(dim1=1, dim2=2)
        log_det = 2 * diagonal.log().sum(1)
        return square.T, log_det

    def sample(
        self,
        n: int,
        *,
        shrinkage: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`n` draws from each component (K, n, D).

        The generator lives on the CPU, so devices draw the same.
        """
        mean = self.mean[:, None]
        k, dim = self.mean.shape
        noise = torch.randn(
            (k, n, dim),
            generator=generator,
            dtype=mean.dtype,
        )
        factor = self._cholesky(shrinkage)
        return mean + noise.to(mean.device) @ factor.mT

    def _cholesky(self, shrinkage: float) -> Tensor:
        covariance = self.covariance(shrinkage=shrinkage)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed.any():
            singular = failed.nonzero().flatten().tolist()
            raise ValueError(
                "Expected covariances of full rank; "
                f"got singular ones of components {singular}. Pass shrinkage > 0."
            )
        return factor

    @property
    def nbytes(self) -> int:
        """Bytes that keeping them takes.

        Of a symmetric scatter one half and its diagonal.
        """
        k, dim = self.mean.shape
        half = dim * (dim + 1) // 2
        return k * (1 + dim + half) * self.mean.element_size()

    def __repr__(self) -> str:
        dim = self.mean.shape[1]
        n = self.n.sum().item()
        facts = [
            f"components={len(self)}",
            f"dim={dim}",
            f"n={n:.6g}",
        ]
        return f"GaussianStats({', '.join(facts)})"


def _check_points(x: Tensor, weights: Tensor) -> None:
    if x.ndim != 2 or weights.ndim != 2 or len(weights) != len(x):
        raise ValueError(
            "Expected points (N, D) and weights (N, K); "
            f"got {tuple(x.shape)} and {tuple(weights.shape)}."
        )
    if (weights < 0).any():
        lowest = weights.min().item()
        raise ValueError(f"Expected weights of 0 or more; got {lowest:g}.")
