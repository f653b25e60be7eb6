"""Mixtures learnt incrementally: one kernel of Gaussian statistics that everything below this folder stands on."""

__all__ = ["GaussianStats"]

from cl_flow.align.stats import GaussianStats
