"""Gaussian statistics kept as inverse scatter and log-determinant.

A point costs O(D²).
"""

__all__ = ["PrecisionStats"]

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
from cl_flow.align.statistics.gaussian import LOG_2PI, GaussianStats


@dataclass(frozen=True)
class PrecisionStats:
    r"""Statistics with P = S⁻¹ and ln|S| in place of the scatter S.

    They are used as `GaussianStats` are.

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
        inverse = torch.cholesky_inverse(factor)
        return cls(stats.n, stats.mean, inverse, _log_det(factor))

    def to_stats(self) -> GaussianStats:
        """With the scatter again."""
        scatter = _inverse(self.inverse)
        return GaussianStats(self.n, self.mean, scatter)

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, k: slice | Tensor) -> "PrecisionStats":
        """The statistics of some components."""
        return PrecisionStats(
            self.n[k],
            self.mean[k],
            self.inverse[k],
            self.log_det[k],
        )

    # ---- the Gaussians

    def inflated(self, factor: Tensor) -> "PrecisionStats":
        """The same counts and means with `factor` (K,) times the covariances."""
        dim = self.mean.shape[1]
        inverse = self.inverse / over_matrices(factor)
        log_det = self.log_det + dim * factor.log()
        return PrecisionStats(self.n, self.mean, inverse, log_det)

    def distances(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared Mahalanobis distances of points (N, D) to every component.

        Returns:
            The distances (N, K), and ln|S/n| (K,).
        """
        delta = x[None] - self.mean[:, None]
        turned = delta @ self.inverse
        square = (turned * delta).sum(-1)
        square = square.T * self.n
        log_n = x.shape[1] * self.n.log()
        return square, self.log_det - log_n

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density log N(x; m, S/n) (N, K) under every component.

        Of points (N, D).
        """
        square, log_det = self.distances(x)
        constant = x.shape[1] * LOG_2PI
        return -0.5 * (square + log_det + constant)

    # ---- accumulating

    def absorb(self, x: Tensor, weights: Tensor) -> "PrecisionStats":
        """Statistics with points added by their responsibilities.

        Args:
            x: Points (N, D).
            weights: Responsibilities (N, K).
        """
        added = weights.sum(0)
        n = self.n + added
        sums = weights.T @ x
        new_mean = sums / over_vectors(positive(added))
        delta = new_mean - self.mean
        share = added / n
        mean = self.mean + over_vectors(share) * delta
        rows = _rows(x, weights, new_mean)
        weight = (self.n * added / n).sqrt()
        shift = over_matrices(weight) * delta[:, None]
        rows = torch.cat([rows, shift], dim=1)
        inverse, log_det = _grown(self.inverse, self.log_det, rows)
        return PrecisionStats(n, mean, inverse, log_det)

    def add_outer(
        self,
        n: Tensor,
        mean: Tensor,
        delta: Tensor,
        coefficient: Tensor,
    ) -> "PrecisionStats":
        """Other counts and means, and a rank-one term on the scatters.

        It is `coefficient` (K,) times δδᵀ, δ (K, D).
        """
        half = self.inverse @ delta[:, :, None]
        half = half[..., 0]
        square = (delta * half).sum(-1)
        factor = 1 + coefficient * square
        weight = coefficient / factor
        weighted = over_vectors(weight) * half
        inverse = self.inverse - outer(weighted, half)
        log_det = self.log_det + factor.log()
        return PrecisionStats(n, mean, inverse, log_det)

    @property
    def nbytes(self) -> int:
        """Bytes that keeping them takes.

        Of a symmetric matrix one half and its diagonal.
        """
        k, dim = self.mean.shape
        half = dim * (dim + 1) // 2
        return k * (2 + dim + half) * self.mean.element_size()

    def __repr__(self) -> str:
        dim = self.mean.shape[1]
        n = self.n.sum().item()
        facts = [
            f"components={len(self)}",
            f"dim={dim}",
            f"n={n:.6g}",
        ]
        return f"PrecisionStats({', '.join(facts)})"


def _rows(x: Tensor, weights: Tensor, mean: Tensor) -> Tensor:
    """Rows (K, N, D) whose scatter is that of weighted points around their mean.

    A single point has none.
    """
    if len(x) == 1:
        return x.new_empty(len(mean), 0, x.shape[1])
    centered = x[None] - mean[:, None]
    root = weights.T.sqrt()
    return root[:, :, None] * centered


def _grown(
    inverse: Tensor,
    log_det: Tensor,
    rows: Tensor,
) -> tuple[Tensor, Tensor]:
    """Inverse and log-determinant of S + UᵀU for rows U (K, R, D).

    By rank R, or by inversion where R reaches D.
    """
    n_rows, dim = rows.shape[1:]
    if n_rows >= dim:
        scatter = _inverse(inverse) + rows.mT @ rows
        factor = torch.linalg.cholesky(scatter)
        return torch.cholesky_inverse(factor), _log_det(factor)
    half = rows @ inverse
    added = half @ rows.mT
    factor = torch.linalg.cholesky(eye_like(added) + added)
    half = torch.linalg.solve_triangular(factor, half, upper=False)
    inverse = inverse - half.mT @ half
    return inverse, log_det + _log_det(factor)


def _inverse(matrix: Tensor) -> Tensor:
    """Inverses of symmetric positive matrices (K, D, D)."""
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_inverse(factor)


def _log_det(factor: Tensor) -> Tensor:
    diagonal = factor.diagonal(dim1=1, dim2=2)
    return 2 * diagonal.log().sum(1)
