"""Orders drawn."""

__all__ = ["plot_orders"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.orders.conclude import order_means
from analysis.rows import alike
from analysis.style import MARKERS, error_bars, label_of, legend_beside, text_color

WIDTH = 0.5  # of an order's place that its methods take, side by side


@alike
def plot_orders(
    measured: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    quantity: str = "final_mean",
    **kwargs: Any,
) -> Axes:
    """Each method in each order, with its interval over seeds.

    How to read it: lines that cross are a rank that changes with the order; intervals
    that overlap at a crossing say that seeds alone could have done it.

    Args:
        measured: Of `order_study`.
        ax: Where to draw; the current Axes by default.
        metric: Which metric.
        quantity: As in `order_means`.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.orders import order_study
        >>> measured = order_study(plan, ("random", "random 1"), methods=("finetune",))
        >>> ax = plot_orders(measured)
    """
    ax = plt.gca() if ax is None else ax
    means = order_means(measured, metric=metric, quantity=quantity)
    orders = list(means["order"].unique())
    methods = list(means["method"].unique())
    shifts = np.linspace(-WIDTH / 2, WIDTH / 2, len(methods)) if methods[1:] else [0.0]
    for i, (method, shift) in enumerate(zip(methods, shifts)):
        rows = means[means["method"] == method].set_index("order").reindex(orders)
        style = {"color": text_color(i), "marker": MARKERS[i % len(MARKERS)]}
        style |= {"label": label_of(method), "lw": 1.5}
        error = None if rows["low"].isna().all() else error_bars(rows)
        x = np.arange(len(orders)) + shift
        ax.errorbar(x, rows["value"], yerr=error, **{**style, **kwargs})
    names = [label_of(order) for order in orders]
    ax.set_xticks(range(len(orders)), names, rotation=30, ha="right")
    ax.set_ylabel(f"{label_of(quantity)}, {label_of(metric)}")
    legend_beside(ax)
    return ax
