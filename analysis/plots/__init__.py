"""Tables in, Axes out: nothing here computes, reads a run or changes a global setting."""

__all__ = [
    "plot_alignment",
    "plot_apparent_drift",
    "plot_budget",
    "plot_bytes",
    "plot_center_distances",
    "plot_center_drift",
    "plot_embedding",
    "plot_embedding_steps",
    "plot_examples",
    "plot_expansion",
    "plot_expansion_size",
    "plot_families",
    "plot_forgetting",
    "plot_growth",
    "plot_ledger",
    "plot_losses",
    "plot_matrix",
    "plot_recovery",
    "plot_recovery_cost",
    "plot_samplers",
    "plot_similarity",
    "plot_stability",
    "plot_stages",
    "plot_strategies",
    "plot_task_curves",
    "plot_transplant",
    "plot_transport",
    "plot_volume",
    "plot_waterfall",
]

from analysis.plots.alignment import plot_alignment, plot_budget, plot_growth, plot_samplers
from analysis.plots.curves import plot_forgetting, plot_losses, plot_matrix, plot_strategies, plot_task_curves
from analysis.plots.embedding import plot_apparent_drift, plot_embedding, plot_embedding_steps
from analysis.plots.examples import plot_examples
from analysis.plots.expansion import plot_expansion, plot_expansion_size, plot_stages
from analysis.plots.geometry import plot_center_distances, plot_center_drift, plot_similarity
from analysis.plots.ledger import plot_families, plot_ledger, plot_waterfall
from analysis.plots.methods import plot_bytes, plot_stability
from analysis.plots.recovery import plot_recovery, plot_recovery_cost
from analysis.plots.transport import plot_transplant, plot_transport, plot_volume
