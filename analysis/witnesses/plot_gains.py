"""Relative forgetting drawn."""

__all__ = ["plot_relative_forgetting"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, refuse_strategies
from analysis.style import dotted_line, error_bars


@alike
def plot_relative_forgetting(
    ratios: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Share of what each task had gained that was lost again, with its interval.

    How to read it: at the lower line all is kept, at the upper one all is lost. A task
    without a point gained nothing that these test images show, so that there was
    nothing to lose.

    Args:
        ratios: Of `relative_forgetting`, of one strategy.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.witnesses import measure_learning
        >>> from analysis.witnesses import plot_relative_forgetting, relative_forgetting
        >>> ax = plot_relative_forgetting(relative_forgetting(measure_learning(run)))
    """
    ax = ax or plt.gca()
    refuse_strategies(ratios)
    known = ratios.dropna(subset="value")
    style = {"fmt": "o", "color": "#332288", "capsize": 4, **kwargs}
    ax.errorbar(known["task"] + 1, known["value"], yerr=error_bars(known), **style)
    for level in (0, 1):
        dotted_line(ax, y=level)
    for task in ratios.loc[ratios["value"].isna(), "task"]:
        ax.annotate(
            "no gain",
            (task + 1, 0.5),
            rotation=90,
            ha="center",
            va="center",
            size="small",
        )
    ax.set_xticks(ratios["task"] + 1, [str(task + 1) for task in ratios["task"]])
    ax.set_xlim(ratios["task"].min() + 0.5, ratios["task"].max() + 1.5)
    ax.set(xlabel="task", ylabel="share of the gain that was lost")
    return ax
