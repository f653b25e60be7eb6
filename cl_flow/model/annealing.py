"""Neighbours among components: the annealed maximum that replaces a logsumexp."""

__all__ = ["annealed_width", "best_neighbourhood", "neighbours_on_grid"]

import math

import torch
from torch import Tensor

# Width at which a component is its only neighbour, to the bit.
SHARP = 0.01


def neighbours_on_grid(n_components: int, width: float) -> Tensor:
    r"""Weights g (M, M) that components have in the neighbourhood of each other.

    They lie on a square grid, row by row, whose last row may be shorter, and

    $$g_{kj} \propto \exp(-\|r_k - r_j\|^2 / 2\sigma^2), \quad \sum_j g_{kj} = 1.$$

    Args:
        n_components: M.
        width: σ, in steps of the grid.

    Example:
        >>> neighbours_on_grid(4, 0.01).diagonal()
        tensor([1., 1., 1., 1.])
    """
    side = math.ceil(math.sqrt(n_components))
    component = torch.arange(n_components)
    place = torch.stack([component // side, component % side], dim=1).double()
    square = (place[:, None] - place).square().sum(-1)
    g = (-square / (2 * width**2)).softmax(1)
    return g.to(torch.get_default_dtype())


def annealed_width(n_components: int, progress: float) -> float:
    """Width σ of neighbourhoods: from √M/4 at progress 0 to `SHARP` from 1 on.

    Between them it falls by the same factor in every step.
    """
    start = math.sqrt(n_components) / 4
    return start * (SHARP / start) ** min(progress, 1.0)


def best_neighbourhood(log_kernel: Tensor, neighbours: Tensor) -> Tensor:
    r"""$\max_k \sum_j g_{kj} \ell_j$ (…) of logarithms ℓ (…, M) of weighted densities.

    It is at most max_j ℓ_j, which it is where everyone is its only neighbour, and that
    at most the logsumexp, which exceeds it by ln M at most: training raises a lower
    bound of the log-likelihood. With wide neighbourhoods no component can be left
    without latents.

    References:
        Gradient-Based Training of Gaussian Mixture Models for High-Dimensional
        Streaming Data (Gepperth & Pfülb, 2021)
        https://arxiv.org/abs/1912.09379

    Args:
        log_kernel: ℓ (…, M).
        neighbours: g (M, M), as `neighbours_on_grid` has them.
    """
    return (log_kernel @ neighbours.T).amax(-1)
