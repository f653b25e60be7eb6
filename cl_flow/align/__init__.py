"""Mixtures learnt incrementally, and aligners of old classes.

An aligner moves a mixture after its flow has moved.
"""

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
    "learn_mixture",
    "moments",
    "natural_step",
    "refit",
]

import warnings
from typing import Any

from cl_flow.align import heads  # noqa: F401  (each enrols what it holds)
from cl_flow.align.aligners import ALIGNERS, HEADS, KEPT, Evidence
from cl_flow.align.mixtures import gated, merging, stepwise  # noqa: F401  (each enrols what it holds)
from cl_flow.align.mixtures.engine import POLICIES, MixtureState, learn_mixture
from cl_flow.align.natural_gradient import moments, natural_step
from cl_flow.align.refits import FAMILIES, refit
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.precision import PrecisionStats


def __getattr__(name: str) -> Any:
    """Former name, for one release."""
    if name == "learn":
        warnings.warn(
            "cl_flow.align.learn is learn_mixture now; the next release knows it by "
            "that name alone.",
            DeprecationWarning,
            stacklevel=2,
        )
        return learn_mixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
