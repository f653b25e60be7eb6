"""Mixtures learned incrementally, and aligners of old classes.

An aligner moves a mixture after its flow has moved.
"""

__all__ = [
    "ALIGNERS",
    "FAMILIES",
    "HEADS",
    "KEPT",
    "POLICIES",
    "ClassLaws",
    "Evidence",
    "GaussianStats",
    "LawOptions",
    "MixtureState",
    "PatchLaw",
    "PrecisionStats",
    "carried",
    "feature_laws",
    "gathered",
    "inverted_patches",
    "latent_laws",
    "learn_mixture",
    "mixture_draws",
    "moments",
    "moved",
    "natural_step",
    "pool_laws",
    "realigned",
    "refit",
]

import warnings
from typing import Any

# Those imported whole enrol what they hold.
from cl_flow.align import heads, stand_ins  # noqa: F401
from cl_flow.align.affine import HEADS, moved
from cl_flow.align.aligners import ALIGNERS, KEPT, Evidence
from cl_flow.align.draws import inverted_patches, mixture_draws
from cl_flow.align.evidence import carried, gathered, realigned
from cl_flow.align.law_fits import LawOptions, feature_laws, latent_laws, pool_laws
from cl_flow.align.laws import ClassLaws, PatchLaw
from cl_flow.align.mixtures import POLICIES, MixtureState, learn_mixture
from cl_flow.align.natural_gradient import moments, natural_step
from cl_flow.align.refits import FAMILIES, refit
from cl_flow.align.statistics import GaussianStats, PrecisionStats


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
