"""Mixtures learnt incrementally: one kernel of Gaussian statistics that everything below this folder stands on."""

__all__ = ["FAMILIES", "POLICIES", "GaussianStats", "MixtureState", "PrecisionStats", "learn", "refit"]

from cl_flow.align import gated, merging, stepwise  # noqa: F401  (each enrols its policies)
from cl_flow.align.incremental import POLICIES, MixtureState, learn
from cl_flow.align.precision import PrecisionStats
from cl_flow.align.refit import FAMILIES, refit
from cl_flow.align.stats import GaussianStats
