"""Positions: codes of grid cells, on which the flow is conditional."""

__all__ = ["Positions", "encode_positions"]

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Positions(NamedTuple):
    """Condition of a batch: a table of codes, and which row of it each patch reads.

    Args:
        table: Position codes (S, P) of the S cells of a grid, or whatever else patches
            are told.
        index: Row of each patch (N,); None when the patches are whole grids, cell by
            cell (N a multiple of S).
    """

    table: Tensor
    index: Tensor | None = None


def encode_positions(dim: int, height: int, width: int) -> Tensor:
    """2-D sine/cosine code of every grid cell (height·width, dim), row by row.

    The first half of the channels codes the column, the second the row, at wavelengths
    from 2π to 10000·2π.

    Raises:
        ValueError: `dim` is no multiple of 4.

    Example:
        >>> codes = encode_positions(8, height=2, width=3)
        >>> codes.shape
        torch.Size([6, 8])
        >>> codes[0]
        tensor([0., 1., 0., 1., 0., 1., 0., 1.])
    """
    if dim % 4:
        raise ValueError(
            f"Expected a position dimension that is a multiple of 4; got {dim}."
        )
    half = dim // 2
    decay = math.log(1e4) / half
    steps = torch.arange(0.0, half, 2)
    rates = torch.exp(steps * -decay)
    columns = _waves(width, rates)
    rows = _waves(height, rates)
    parts = [
        columns.expand(height, -1, -1),
        rows[:, None].expand(-1, width, -1),
    ]
    codes = torch.cat(parts, dim=-1)
    return codes.flatten(0, 1)


def _waves(n: int, rates: Tensor) -> Tensor:
    """Sine and cosine in turn (n, 2·rates) of the numbers below n."""
    numbers = torch.arange(0.0, n)
    angles = numbers[:, None] * rates
    pairs = [angles.sin(), angles.cos()]
    waves = torch.stack(pairs, dim=-1)
    return waves.flatten(1)
