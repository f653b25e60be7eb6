"""Joining: the components of several statistics, one after the other."""

__all__ = ["Stats", "joined"]

from typing import TypeVar

import torch

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.precision import PrecisionStats

Stats = TypeVar("Stats", GaussianStats, PrecisionStats)


def joined(*parts: Stats) -> Stats:
    """The components of all parts, one after the other.

    Args:
        parts: Statistics of one kind, one or more.
    """
    kind = type(parts[0])
    columns = {}
    for name in vars(parts[0]):
        values = [getattr(part, name) for part in parts]
        columns[name] = torch.cat(values)
    return kind(**columns)
