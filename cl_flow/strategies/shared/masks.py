"""Masks of sparse networks: how dense, what is dropped, what grows.

Sparse Evolutionary Training: Scalable training of artificial neural networks with
adaptive sparse connectivity (Mocanu et al., 2018), https://arxiv.org/abs/1707.04780.
Rigging the Lottery: Making All Tickets Winners (Evci et al., 2020),
https://arxiv.org/abs/1911.11134.
"""

__all__ = ["densities", "drawn", "dropped", "highest"]

from collections.abc import Sequence

import torch
from torch import Tensor


def densities(
    shapes: Sequence[tuple[int, int]], density: float, *, most: float = 1.0
) -> list[float]:
    """Share of the weights of each matrix, by Erdős and Rényi.

    A matrix (n, m) has a share in proportion to (n + m)/nm, so that small ones are
    denser. Where that is beyond `most` it has `most`, and the others make up for it.

    Args:
        shapes: Of the matrices.
        density: Share of all their weights together, `most` at most.
        most: Upper bound of any share.
    """
    sizes = torch.tensor([n * m for n, m in shapes], dtype=torch.float64)
    sums = torch.tensor([n + m for n, m in shapes], dtype=torch.float64)
    full = torch.zeros(len(sizes), dtype=torch.bool)
    while True:
        left = density * sizes.sum() - most * sizes[full].sum()
        shares = left / sums[~full].sum() * sums / sizes
        shares[full] = most
        over = (shares > most) & ~full
        if not over.any():
            return shares.tolist()
        full |= over
        if full.all():
            return len(shapes) * [most]


def highest(score: Tensor, among: Tensor, n: int) -> Tensor:
    """Mask of the n elements of highest score among those of a mask."""
    order = score.masked_fill(~among, -torch.inf).flatten().topk(n).indices
    return torch.zeros_like(among).flatten().index_fill_(0, order, True).view_as(among)


def drawn(among: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Mask of n elements of a mask, drawn at random; the generator is a CPU's."""
    score = torch.rand(among.shape, generator=generator)
    return highest(score.to(among.device), among, n)


def dropped(
    weight: Tensor, active: Tensor, share: float, *, by_sign: bool = False
) -> Tensor:
    """Mask of the active weights nearest to 0, a share of them.

    Args:
        weight: Weights.
        active: Mask of those in use.
        share: Of the active weights; how many is rounded down.
        by_sign: Whether it is a share of the positive and one of the other weights.
    """
    is_positive = active & (weight > 0)
    parts = (is_positive, active & ~is_positive) if by_sign else (active,)
    out = torch.zeros_like(active)
    for part in parts:
        out |= highest(-weight.abs(), part, int(share * part.sum()))
    return out
