"""Interventions on the models of a run: what they are made to do, and what that changes. Runs in, tables out."""

__all__ = [
    "ILLNESSES",
    "PROBES",
    "SAMPLERS",
    "SWAPS",
    "alignment",
    "alignment_table",
    "contrast",
    "counterfactuals",
    "expansion",
    "expansion_drops",
    "expansion_table",
    "expansion_terms",
    "ledger",
    "ledger_families",
    "ledger_shapley",
    "ledger_shares",
    "ledger_terms",
    "measure",
    "planted",
    "recovery",
    "recovery_changes",
    "recovery_curves",
    "recovery_halves",
    "recovery_table",
    "refit_centers",
    "resampled",
    "sampler_auc",
    "savings",
    "summarise_alignment",
    "summarise_expansion",
    "summarise_recovery",
    "swap",
    "transplant",
    "transport",
    "verdict",
]

from analysis.probes.alignment import alignment
from analysis.probes.approach import alignment_table, summarise_alignment
from analysis.probes.balance import ledger_families, ledger_shapley, ledger_shares, ledger_terms, verdict
from analysis.probes.expansion import (
    expansion,
    expansion_drops,
    expansion_table,
    expansion_terms,
    summarise_expansion,
)
from analysis.probes.illness import ILLNESSES, planted
from analysis.probes.ledger import counterfactuals, ledger, refit_centers
from analysis.probes.measure import contrast, measure, resampled
from analysis.probes.recovery import PROBES, recovery
from analysis.probes.samplers import SAMPLERS, sampler_auc
from analysis.probes.savings import (
    recovery_changes,
    recovery_curves,
    recovery_halves,
    recovery_table,
    savings,
    summarise_recovery,
)
from analysis.probes.swap import SWAPS, swap
from analysis.probes.transplant import transplant
from analysis.probes.transport import transport
