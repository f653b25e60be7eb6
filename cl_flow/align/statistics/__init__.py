"""Gaussian sufficient statistics, kept as scatters or as precisions."""

__all__ = ["GaussianStats", "PrecisionStats", "joined"]

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.joining import joined
from cl_flow.align.statistics.precision import PrecisionStats
