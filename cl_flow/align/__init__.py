"""Mixtures learnt incrementally, or fitted anew: on one kernel of Gaussian statistics."""

__all__ = ["FAMILIES", "GaussianStats", "refit"]

from cl_flow.align.refit import FAMILIES, refit
from cl_flow.align.stats import GaussianStats
