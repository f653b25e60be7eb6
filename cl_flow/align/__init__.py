"""Mixtures learnt incrementally, and aligners that move a mixture after its flow has moved."""

__all__ = [
    "ALIGNERS",
    "FAMILIES",
    "HEADS",
    "KEPT",
    "POLICIES",
    "Evidence",
    "GaussianStats",
    "MixtureState",
    "PrecisionStats",
    "learn",
    "moments",
    "natural_step",
    "refit",
]

from cl_flow.align import gated, heads, merging, stepwise  # noqa: F401  (each enrols what it holds)
from cl_flow.align.aligners import ALIGNERS, HEADS, KEPT, Evidence
from cl_flow.align.gradient import moments, natural_step
from cl_flow.align.incremental import POLICIES, MixtureState, learn
from cl_flow.align.precision import PrecisionStats
from cl_flow.align.refit import FAMILIES, refit
from cl_flow.align.stats import GaussianStats
