"""Tail and quantiles of the χ² distribution."""

__all__ = ["chi2_quantile", "chi2_tail"]

from functools import cache

import torch
from torch import Tensor

BISECTIONS = 80


def chi2_tail(value: Tensor, dof: float) -> Tensor:
    """P(χ² > value) with `dof` degrees of freedom."""
    shape = torch.full_like(value, dof / 2)
    return torch.special.gammaincc(shape, value / 2)


@cache
def chi2_quantile(level: float, dof: float) -> float:
    """Quantile of χ² with `dof` degrees of freedom, by bisection.

    χ² stays below it with probability `level`.
    """
    if not 0 < level < 1:
        raise ValueError(f"Expected a probability in (0, 1); got {level}.")
    most = dof + 100.0 + 20 * dof**0.5
    low = torch.zeros((), dtype=torch.float64)
    high = torch.tensor(most, dtype=torch.float64)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tail = chi2_tail(middle, dof)
        if tail > 1 - level:
            low = middle
        else:
            high = middle
    return middle.item()
