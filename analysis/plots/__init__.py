"""Tables in, Axes out: nothing here computes, reads a run or changes a global setting."""

__all__ = [
    "plot_examples",
    "plot_forgetting",
    "plot_losses",
    "plot_matrix",
    "plot_strategies",
    "plot_task_curves",
]

from analysis.plots.curves import plot_forgetting, plot_losses, plot_matrix, plot_strategies, plot_task_curves
from analysis.plots.examples import plot_examples
