"""Sub-networks drawn: what was forgotten against how far the weights were moved."""

__all__ = ["plot_subnetworks"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import of_tables
from analysis.style import MARKERS, dotted_line, label_of, legend_beside, text_color


@of_tables
def plot_subnetworks(
    beside: pd.DataFrame,
    *,
    ax: Axes | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC that went against the displacement of the task's own weights.

    A point for each earlier task of a run, a marker for each method.

    How to read it: at the left end nobody touched what a task learned, and what still
    went is not the weights'. A cloud that rises to the right is knowledge that later
    tasks trained away.

    Args:
        beside: Of `subnetworks_beside`.
        ax: Where to draw; new axes by default.
        legend: Whether to name the methods.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis import evaluate
        >>> from analysis.methods import measure_subnetworks, subnetworks_beside
        >>> beside = subnetworks_beside(measure_subnetworks(run), evaluate(run))
        >>> ax = plot_subnetworks(beside)
    """
    ax = ax or plt.gca()
    for i, (method, rows) in enumerate(beside.groupby("method", sort=False)):
        marker = MARKERS[i % len(MARKERS)]
        style: dict[str, Any] = {"color": text_color(i), "marker": marker}
        style |= {"ls": "none", "label": label_of(method), **kwargs}
        ax.plot(rows["displacement"], rows["drop"], **style)
    dotted_line(ax, y=0)
    ax.set(
        xlabel="displacement of the task's weights",
        ylabel="AUROC lost since just learned",
    )
    if legend:
        legend_beside(ax)
    return ax
