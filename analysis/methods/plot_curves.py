"""Learning curves drawn."""

__all__ = ["plot_learning_curve"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from analysis.rows import of_tables
from analysis.style import (
    MARKERS,
    error_bars,
    label_of,
    legend_beside,
    text_color,
)

COST_LABELS = {
    "seconds": "seconds of training",
    "passes": "passes over the images",
    "images": "images seen",
}


@of_tables
def plot_learning_curve(
    curve: pd.DataFrame,
    *,
    ax: Axes | None = None,
    against: str = "seconds",
    metric: str = "image AUROC",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC that each method reaches against what its training took, on a log axis.

    A point is a run trained to its end, a line a method.

    How to read it: further left at the same height is cheaper. Where lines cross
    between passes and seconds, one method does more work on an image than another.

    Args:
        curve: Of `learning_curve`.
        ax: Where to draw; new axes by default.
        against: `"seconds"`, `"passes"` or `"images"`.
        metric: Name at the upright axis.
        legend: Whether to name the methods.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.methods import learning_curve, measure_learning_curve
        >>> ax = plot_learning_curve(learning_curve(measure_learning_curve(runs)))
    """
    ax = ax or plt.gca()
    for i, (method, rows) in enumerate(curve.groupby("method", sort=False)):
        rows = rows.sort_values(against)
        marker = MARKERS[i % len(MARKERS)]
        style: dict[str, Any] = {"color": text_color(i), "marker": marker}
        style |= {"label": label_of(method), "capsize": 4, **kwargs}
        error = None if rows["low"].isna().all() else error_bars(rows)
        ax.errorbar(rows[against], rows["value"], yerr=error, **style)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set(xlabel=COST_LABELS[against], ylabel=metric)
    if legend:
        legend_beside(ax)
    return ax
