"""Gaussian mixtures learned incrementally: an engine, and the policies it follows."""

__all__ = [
    "Gated",
    "Merging",
    "MixtureState",
    "POLICIES",
    "Policy",
    "Stepwise",
    "chi2_quantile",
    "chi2_tail",
    "equality",
    "learn_mixture",
    "log_joint",
]

from cl_flow.align.mixtures.chi_square import chi2_quantile, chi2_tail
from cl_flow.align.mixtures.engine import (
    POLICIES,
    MixtureState,
    Policy,
    learn_mixture,
    log_joint,
)
from cl_flow.align.mixtures.gated import Gated
from cl_flow.align.mixtures.merging import Merging, equality
from cl_flow.align.mixtures.stepwise import Stepwise
