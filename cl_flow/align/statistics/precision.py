"""Gaussian statistics kept as inverse scatter and log-determinant.

A point costs O(D²).
"""

__all__ = ["PrecisionStats"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.statistics.gaussian import GaussianStats


@dataclass(frozen=True)
class PrecisionStats:
    r"""Statistics with P = S⁻¹ and ln|S| in place of the scatter S.

    As `GaussianStats` else.

    A batch adds $U^\top U$ to the scatter, one row of U per point and one for the shift
    of the mean, so that by Woodbury's and Sylvester's identities
    $$P' = P - PU^\top (I + UPU^\top)^{-1} UP,
    \qquad \ln|S'| = \ln|S| + \ln|I + UPU^\top|.$$
    For a single point this is the rank-one update of the precision Λ = nP in FIGMN.

    References:
        A fast incremental Gaussian mixture model (Pinto and Engel, 2015)
        https://doi.org/10.1371/journal.pone.0139931

    Args:
        n: Weighted counts (K,), positive.
        mean: Means (K, D).
        inverse: Inverse scatters (K, D, D).
        log_det: ln|S| (K,).
    """

    n: Tensor
    mean: Tensor
    inverse: Tensor
    log_det: Tensor

    @classmethod
    def of_stats(cls, stats: GaussianStats) -> "PrecisionStats":
        """Those of components whose scatter has full rank."""
        factor = torch.linalg.cholesky(stats.scatter)
        return cls(
            stats.n, stats.mean, torch.cholesky_inverse(factor), _log_det(factor)
        )

    def to_stats(self) -> GaussianStats:
        """With the scatter again."""
        return GaussianStats(
            self.n,
            self.mean,
            torch.cholesky_inverse(torch.linalg.cholesky(self.inverse)),
        )

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, k: slice | Tensor) -> "PrecisionStats":
        """The statistics of some components."""
        return PrecisionStats(self.n[k], self.mean[k], self.inverse[k], self.log_det[k])

    def inflated(self, factor: Tensor) -> "PrecisionStats":
        """The same counts and means with `factor` (K,) times the covariances."""
        log_det = self.log_det + self.mean.shape[1] * factor.log()
        return PrecisionStats(
            self.n, self.mean, self.inverse / factor[:, None, None], log_det
        )

    def distances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared Mahalanobis distances (N, K) and ln|S/n| (K,).

        Of points (N, D) to every component.
        """
        delta = x[None] - self.mean[:, None]
        square = ((delta @ self.inverse) * delta).sum(-1).T * self.n
        return square, self.log_det - x.shape[1] * self.n.log()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density log N(x; m, S/n) (N, K) under every component.

        Of points (N, D).
        """
        square, log_det = self.distances(x)
        return -0.5 * (square + log_det + x.shape[1] * math.log(2 * math.pi))

    def absorb(self, x: Tensor, weights: Tensor) -> "PrecisionStats":
        """Statistics with points (N, D) added by their responsibilities.

        `weights` (N, K).
        """
        added = weights.sum(0)
        n = self.n + added
        mean = weights.T @ x / added.clamp(min=torch.finfo(x.dtype).tiny)[:, None]
        delta = mean - self.mean
        shift = (self.n * added / n).sqrt()[:, None, None] * delta[:, None]
        within = weights.T.sqrt()[:, :, None] * (x[None] - mean[:, None])
        rows = shift if len(x) == 1 else torch.cat([within, shift], dim=1)
        inverse, log_det = _grown(self.inverse, self.log_det, rows)
        return PrecisionStats(
            n, self.mean + (added / n)[:, None] * delta, inverse, log_det
        )

    def add_outer(
        self, n: Tensor, mean: Tensor, delta: Tensor, coefficient: Tensor
    ) -> "PrecisionStats":
        """Other counts and means, and a rank-one term on the scatters.

        It is `coefficient` (K,) times δδᵀ, δ (K, D).
        """
        half = (self.inverse @ delta[:, :, None])[..., 0]
        factor = 1 + coefficient * (delta * half).sum(-1)
        inverse = (
            self.inverse
            - (coefficient / factor)[:, None, None]
            * half[:, :, None]
            * half[:, None, :]
        )
        return PrecisionStats(n, mean, inverse, self.log_det + factor.log())

    @property
    def nbytes(self) -> int:
        """Bytes that keeping them takes.

        Of a symmetric matrix one half and its diagonal.
        """
        k, dim = self.mean.shape
        return k * (2 + dim + dim * (dim + 1) // 2) * self.mean.element_size()

    def __repr__(self) -> str:
        dim = self.mean.shape[1]
        n = self.n.sum().item()
        return f"PrecisionStats(components={len(self)}, dim={dim}, n={n:.6g})"


def _grown(inverse: Tensor, log_det: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse and log-determinant of S + UᵀU for rows U (K, R, D).

    By rank R, or by inversion where R reaches D.
    """
    if rows.shape[1] >= rows.shape[2]:
        scatter = (
            torch.cholesky_inverse(torch.linalg.cholesky(inverse)) + rows.mT @ rows
        )
        factor = torch.linalg.cholesky(scatter)
        return torch.cholesky_inverse(factor), _log_det(factor)
    half = rows @ inverse
    eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    factor = torch.linalg.cholesky(eye + half @ rows.mT)
    half = torch.linalg.solve_triangular(factor, half, upper=False)
    return inverse - half.mT @ half, log_det + _log_det(factor)


def _log_det(factor: Tensor) -> Tensor:
    return 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
