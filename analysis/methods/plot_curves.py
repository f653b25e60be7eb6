"""Learning curves drawn: AUROC over passes or over seconds."""

__all__ = ["plot_curve"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import chosen, of_tables
from analysis.style import label_of, names_beside, text_color

AXES = {
    "seconds": "seconds of training",
    "passes": "passes over the training images",
}


@of_tables
def plot_curve(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    by: str = "seconds",
    metric: str = "image_auroc",
    part: str = "product",
    **kwargs: Any,
) -> Axes:
    """Mean of a metric over categories while runs learn, a line each.

    How to read it: further left is cheaper, flat is learned. A model whose line ends
    low was stopped, or can do no better: what it does at the end says which.

    Args:
        curves: Of `measure_curve`, of one run or several.
        ax: Where to draw; new axes by default.
        by: `"seconds"` or `"passes"`.
        metric: A metric in the table.
        part: Score part.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = chosen(curves, metric=metric, part=part)
    ends = []
    names = list(rows["method"].unique())
    for _, own in rows.groupby("run", sort=False):
        name = own["method"].iloc[0]
        color = text_color(names.index(name))
        line = own.groupby("passes")[["seconds", "passes", "value"]].mean()
        ax.plot(line[by], line["value"], **{"color": color, "marker": "o", **kwargs})
        ends.append((label_of(name), line[by].iloc[-1], line["value"].iloc[-1], color))
    ax.set(xlabel=AXES[by], ylabel=label_of(metric), ylim=ax.get_ylim())
    names_beside(ax, list({end[0]: end for end in ends}.values()))
    return ax
