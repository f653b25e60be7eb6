"""Interventions on the models of a run: what they are made to do, and what that changes. Runs in, tables out."""

__all__ = [
    "PROBES",
    "contrast",
    "expansion",
    "expansion_drops",
    "expansion_table",
    "expansion_terms",
    "measure",
    "recovery",
    "recovery_changes",
    "recovery_curves",
    "recovery_halves",
    "recovery_table",
    "resampled",
    "savings",
    "summarise_expansion",
    "summarise_recovery",
]

from analysis.probes.expansion import (
    expansion,
    expansion_drops,
    expansion_table,
    expansion_terms,
    summarise_expansion,
)
from analysis.probes.measure import contrast, measure, resampled
from analysis.probes.recovery import PROBES, recovery
from analysis.probes.savings import (
    recovery_changes,
    recovery_curves,
    recovery_halves,
    recovery_table,
    savings,
    summarise_recovery,
)
