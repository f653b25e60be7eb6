"""Classes against each other, drawn."""

__all__ = ["plot_interference"]

from typing import Any

import lazy_loader
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, refuse_strategies
from analysis.style import DIVERGING, name_categories, readable_digits

sns: Any = lazy_loader.load("seaborn")

QUANTITY_LABELS = {
    "cosine": "cosine of gradients",
    "cost": "change of loss by a step for another",
}


@alike
def plot_interference(
    measured: pd.DataFrame,
    *,
    ax: Axes | None = None,
    quantity: str = "cosine",
    **kwargs: Any,
) -> Axes:
    """Gradient cosine of every two classes, or what a step for one costs the other.

    Names have the colour of their task; lines part the tasks.

    How to read it: a row is the class that a step is taken for. Red pairs pull the
    weights apart: a negative cosine, a loss that rises. White ones do not meet.

    Args:
        measured: Of `measure_interference`, of one strategy; runs are averaged.
        ax: Where to draw; new axes by default.
        quantity: `"cosine"` or `"cost"`.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis.witnesses import measure_interference
        >>> ax = plot_interference(measure_interference(run))
    """
    ax = ax or plt.gca()
    refuse_strategies(measured)
    tasks = dict(zip(measured["category"], measured["task"]))
    matrix = measured.pivot_table(
        index="category", columns="other", values=quantity, dropna=False
    )
    matrix = matrix.loc[list(tasks), list(tasks)]
    apart = ~np.eye(len(matrix), dtype=bool)
    bound = 1.0 if quantity == "cosine" else np.nanmax(np.abs(matrix.to_numpy()[apart]))
    options = {
        "vmin": -bound,
        "vmax": bound,
        "cmap": DIVERGING if quantity == "cosine" else f"{DIVERGING}_r",
        "mask": ~apart,
        "annot": True,
        "fmt": ".1f" if quantity == "cosine" else ".1g",
        "square": True,
        "annot_kws": {"size": 12},
        "linewidths": 0.5,
        "cbar_kws": {"label": QUANTITY_LABELS[quantity], "shrink": 0.7},
        **kwargs,
    }
    sns.heatmap(matrix, ax=ax, **options)
    readable_digits(ax)
    ax.set(xlabel="", ylabel="")
    name_categories(ax, tasks)
    return ax
