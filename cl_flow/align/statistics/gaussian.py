"""Gaussian statistics of any number of components.

Count, mean and centered scatter, merged exactly in any order.
"""

__all__ = ["GaussianStats"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
        >>> halves = GaussianStats.of(x[:40]).merge(GaussianStats.of(x[40:]))
        >>> torch.allclose(halves.mean, GaussianStats.of(x).mean, atol=1e-6)
        True
    """

    n: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, k: int, dim: int, *, like: Tensor | None = None) -> "GaussianStats":
        """`k` components that have seen nothing."""
        new = (torch.empty(0) if like is None else like).new_zeros
        return cls(new(k), new(k, dim), new(k, dim, dim))

    @classmethod
    def of(cls, x: Tensor, weights: Tensor | None = None) -> "GaussianStats":
        """The statistics of points (N, D).

        Of one component, or of K under responsibilities `weights` (N, K).

        Raises:
            ValueError: The points are no matrix, a weight is negative, or there are not
                as many weights as points.
        """
        weights = x.new_ones(len(x), 1) if weights is None else weights
        if x.ndim != 2 or weights.ndim != 2 or len(weights) != len(x):
            raise ValueError(
                f"Expected points (N, D) and weights (N, K); got {tuple(x.shape)} and "
                f"{tuple(weights.shape)}."
            )
        if (weights < 0).any():
            raise ValueError(
                f"Expected weights of 0 or more; got {weights.min().item():g}."
            )
        n = weights.sum(0)
        mean = weights.T @ x / n.clamp(min=torch.finfo(x.dtype).tiny)[:, None]
        scatter = torch.stack([_scatter(x - m, w) for m, w in zip(mean, weights.T)])
        return cls(n, mean, scatter)

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, k: int | slice | Tensor) -> "GaussianStats":
        """The statistics of some components, as many as are selected.

        Of one for an integer.
        """
        k = slice(k, k + 1) if isinstance(k, int) and k >= 0 else k
        return GaussianStats(self.n[k], self.mean[k], self.scatter[k])

    def merge(self, other: "GaussianStats") -> "GaussianStats":
        """Component by component the statistics of both together.

        With δ the difference of the means: n = nₐ + n_b, m = mₐ + δ n_b/n, S = Sₐ + S_b
        + δδᵀ nₐn_b/n.

        Raises:
            ValueError: The two differ in components or dimensions.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                "Expected statistics of one shape (K, D); got "
                f"{tuple(self.mean.shape)} and {tuple(other.mean.shape)}."
            )
        n = self.n + other.n
        share = other.n / n.clamp(min=torch.finfo(n.dtype).tiny)
        delta = other.mean - self.mean
        between = (
            (self.n * share)[:, None, None] * delta[:, :, None] * delta[:, None, :]
        )
        return GaussianStats(
            n,
            self.mean + share[:, None] * delta,
            self.scatter + other.scatter + between,
        )

    def absorb(self, x: Tensor, weights: Tensor) -> "GaussianStats":
        """Statistics with points (N, D) added by their responsibilities.

        `weights` (N, K).
        """
        return self.merge(GaussianStats.of(x, weights))

    def decay(self, factor: float | Tensor) -> "GaussianStats":
        """The same means and covariances with `factor` times the weight.

        How much the past counts from now on.
        """
        factor = torch.as_tensor(
            factor, dtype=self.n.dtype, device=self.n.device
        ).expand_as(self.n)
        return GaussianStats(
            self.n * factor, self.mean, self.scatter * factor[:, None, None]
        )

    def inflated(self, factor: Tensor) -> "GaussianStats":
        """The same counts and means with `factor` (K,) times the covariances."""
        return GaussianStats(self.n, self.mean, self.scatter * factor[:, None, None])

    def covariance(self, *, shrinkage: float = 0.0) -> Tensor:
        """Covariances S/n (K, D, D), shrunk towards the sphere of equal trace.

        0 where n is 0.
        """
        covariance = (
            self.scatter
            / self.n.clamp(min=torch.finfo(self.n.dtype).tiny)[:, None, None]
        )
        if not shrinkage:
            return covariance
        level = covariance.diagonal(dim1=1, dim2=2).mean(1)
        eye = torch.eye(
            self.mean.shape[1], dtype=self.mean.dtype, device=self.mean.device
        )
        return (1 - shrinkage) * covariance + shrinkage * level[:, None, None] * eye

    def log_prob(self, x: Tensor, *, shrinkage: float = 0.0) -> Tensor:
        """Log-density log N(x; m, S/n) (N, K) under every component.

        Of points (N, D).

        Raises:
            ValueError: A covariance is singular: fewer points than dimensions, and no
                shrinkage.
        """
        square, log_det = self.distances(x, shrinkage=shrinkage)
        return -0.5 * (square + log_det + x.shape[1] * math.log(2 * math.pi))

    def distances(self, x: Tensor, *, shrinkage: float = 0.0) -> tuple[Tensor, Tensor]:
        """Squared Mahalanobis distances (N, K) and ln|S/n| (K,).

        Of points (N, D) to every component.
        """
        factor = self._cholesky(shrinkage)
        delta = (x[None] - self.mean[:, None]).mT
        square = (
            torch.linalg.solve_triangular(factor, delta, upper=False).square().sum(1)
        )
        return square.T, 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)

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
        shape = (len(self), n, self.mean.shape[1])
        noise = torch.randn(shape, generator=generator, dtype=self.mean.dtype).to(
            self.mean.device
        )
        return self.mean[:, None] + noise @ self._cholesky(shrinkage).mT

    def _cholesky(self, shrinkage: float) -> Tensor:
        factor, failed = torch.linalg.cholesky_ex(self.covariance(shrinkage=shrinkage))
        if failed.any():
            singular = failed.nonzero().flatten().tolist()
            raise ValueError(
                "Expected covariances of full rank; got singular ones of components "
                f"{singular}. Pass shrinkage > 0."
            )
        return factor

    @property
    def nbytes(self) -> int:
        """Bytes that keeping them takes.

        Of a symmetric scatter one half and its diagonal.
        """
        k, dim = self.mean.shape
        return k * (1 + dim + dim * (dim + 1) // 2) * self.mean.element_size()

    def __repr__(self) -> str:
        dim = self.mean.shape[1]
        n = self.n.sum().item()
        return f"GaussianStats(components={len(self)}, dim={dim}, n={n:.6g})"


def _scatter(centered: Tensor, weights: Tensor) -> Tensor:
    return (centered * weights[:, None]).T @ centered
