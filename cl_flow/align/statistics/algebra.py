"""Algebra of vectors and matrices, one for each component."""

__all__ = ["eye_like", "outer", "over_matrices", "over_vectors", "positive"]

import torch
from torch import Tensor


def over_vectors(values: Tensor) -> Tensor:
    """Values (K, 1) of components, to scale vectors (K, D) by."""
    return values[:, None]


def over_matrices(values: Tensor) -> Tensor:
    """Values (K, 1, 1) of components, to scale matrices (K, D, D) by."""
    return values[:, None, None]


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Outer products (K, D, D) of vectors (K, D)."""
    column = left[:, :, None]
    row = right[:, None, :]
    return column * row


def eye_like(values: Tensor) -> Tensor:
    """Identity (D, D) for values (…, D), of their type and on their device."""
    dim = values.shape[-1]
    return torch.eye(dim).to(values)


def positive(values: Tensor) -> Tensor:
    """Values to divide by: none is below the smallest normal number."""
    tiny = torch.finfo(values.dtype).tiny
    return values.clamp(min=tiny)
