"""Covariances that classes learn by gradient, as the weights of their frames."""

__all__ = ["COVARIANCES", "Covariances", "Diagonal", "Full", "LowRank"]

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from cl_flow.registry import Registry

COVARIANCES: Registry = Registry("covariance")


@COVARIANCES("diagonal")
class Diagonal(nn.Module):
    """Learned W = diag(e^a) of n classes: each covariance is diag(e^−2a).

    As every kind does, it starts at W = I, to the bit, and is singular at no value of
    its parameters: log|det W| is the sum of a.

    Args:
        n: Number of classes.
        dim: Number of latent dimensions D.
        rank: Of no use to this kind.
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        super().__init__()
        self.dim = dim
        self.rank = rank
        self.log_scale = nn.Parameter(torch.zeros(n, self._n_scales()))

    def _n_scales(self) -> int:
        return self.dim

    @property
    def log_volume(self) -> Tensor:
        """log|det W_k| (n,)."""
        return self.log_scale.sum(1)

    def weight(self) -> Tensor:
        """W (n, D, D); the covariance of a class is (WᵀW)⁻¹."""
        return torch.diag_embed(self.log_scale.exp())

    def fresh(self, n: int) -> "Diagonal":
        """The same kind for `n` more classes, at W = I."""
        return type(self)(n, self.dim, self.rank).to(self.log_scale)


@COVARIANCES("low_rank")
class LowRank(Diagonal):
    """Learned W = I + Q diag(e^a − 1) Qᵀ, with Q (D, r) a basis of the `axes`.

    Along the r orthonormal columns of Q the standard deviations are e^−a; across them
    they are 1.

    Args:
        n: Number of classes.
        dim: Number of latent dimensions D.
        rank: Number of directions r.

    Raises:
        ValueError: A rank beyond the dimensions.
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        if not 1 <= rank <= dim:
            raise ValueError(f"Expected a rank from 1 to D = {dim}; got {rank}.")
        super().__init__(n, dim, rank)
        first = torch.eye(dim, rank)
        self.axes = nn.Parameter(first.repeat(n, 1, 1))

    def _n_scales(self) -> int:
        return self.rank

    def weight(self) -> Tensor:
        basis = torch.linalg.qr(self.axes).Q
        stretch = basis * self.log_scale.expm1()[:, None]
        eye = torch.eye(self.dim, dtype=basis.dtype, device=basis.device)
        return eye + stretch @ basis.mT


@COVARIANCES("full")
class Full(Diagonal):
    """Learned W = diag(e^a) + L with L strictly lower triangular.

    WᵀW is then any positive definite matrix, each in one way.

    Args:
        n: Number of classes.
        dim: Number of latent dimensions D.
        rank: Of no use to this kind.
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        super().__init__(n, dim, rank)
        self.below = nn.Parameter(torch.zeros(n, dim * (dim - 1) // 2))

    def weight(self) -> Tensor:
        weight = super().weight()
        device = weight.device
        rows, columns = torch.tril_indices(self.dim, self.dim, -1, device=device)
        weight[:, rows, columns] = self.below
        return weight


class Covariances(nn.ModuleList):
    """Learned covariances of each expansion, oldest first; none where it is empty."""

    def __iter__(self) -> Iterator[Diagonal]:
        return cast("Iterator[Diagonal]", super().__iter__())

    @property
    def kind(self) -> tuple[str, int] | None:
        """Name in `COVARIANCES`, and rank."""
        names = {entry: name for name, entry in COVARIANCES.items()}
        kinds = [(names[type(covariance)], covariance.rank) for covariance in self]
        return kinds[0] if kinds else None

    def weight(self) -> Tensor:
        """W (K, D, D) of all classes."""
        return torch.cat([covariance.weight() for covariance in self])

    @property
    def log_volume(self) -> Tensor:
        """log|det W_k| (K,) of all classes."""
        return torch.cat([covariance.log_volume for covariance in self])

    def extend_by(self, n: int) -> "Covariances":
        """The same values, and `n` more classes at W = I."""
        *old, newest = copy.deepcopy(self)
        return Covariances([*old, newest, newest.fresh(n)])
