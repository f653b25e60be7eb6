"""The line between two models drawn."""

__all__ = ["plot_path"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, matching, refuse_strategies
from analysis.style import legend_beside

CENTER_STYLES = {
    "interpolated": {"label": "centers on the line", "color": "#CC6677", "marker": "s"},
    "full": {"label": "centers refitted", "color": "#1F6F66", "marker": "o"},
}
METRIC_LABELS = {"nll": "−log p / D, nats", "image_auroc": "image AUROC"}


@alike
def plot_path(
    levels: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "nll",
    units: str = "matched",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Old tasks on the straight line from the last model to one trained on all images.

    How to read it: a loss that stays below the grey chord between its ends has no
    barrier: both models lie in one valley, and forgetting was a displacement in it. A
    line with refitted centers that is level means that the flow moved and the centers
    were left behind.

    Args:
        levels: Of `path_levels`, of one strategy.
        ax: Where to draw; new axes by default.
        metric: `"nll"` or `"image_auroc"`.
        units: Hidden units as they were `"trained"`, or `"matched"`.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.

    Raises:
        ValueError: Several strategies, or none of what is asked.

    Example:
        >>> from analysis.witnesses import measure_path, path_levels, plot_path
        >>> ax = plot_path(path_levels(measure_path(run, points=(0.0, 0.5, 1.0))))
    """
    ax = ax or plt.gca()
    rows = chosen(levels, metric=metric, units=units)
    refuse_strategies(rows)
    for centers, style in CENTER_STYLES.items():
        points = matching(rows, centers=centers)
        if points.empty:
            continue
        look = {**style, **kwargs}
        ax.plot(points["share"], points["value"], **look)
        band = {"color": look["color"], "alpha": 0.12, "lw": 0}
        ax.fill_between(points["share"], points["low"], points["high"], **band)
        ends = points.iloc[[0, -1]]
        chord = {"color": "0.6", "lw": 1.5, "ls": "--", "zorder": 0}
        ax.plot(ends["share"], ends["value"], **chord)
    ax.set(xlabel="way from the last model to cumulative training")
    ax.set(ylabel=METRIC_LABELS[metric])
    if legend:
        legend_beside(ax)
    return ax
