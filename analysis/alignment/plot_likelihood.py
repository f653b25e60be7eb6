"""Class laws drawn: held-out likelihood against bytes."""

__all__ = ["POSITION_LABELS", "plot_laws"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from analysis.rows import alike
from analysis.style import bytes_of, contrast

POSITION_LABELS = {
    "pooled": "wherever it lies",
    "weights": "weights by place",
    "means": "means by place",
    "full": "means and weights by place",
}
# Not the colours of tasks: Tol's muted scheme.
POSITION_COLORS = {
    "pooled": "#882255",
    "weights": "#DDCC77",
    "means": "#332288",
    "full": "#117733",
}


@alike
def plot_laws(laws: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Held-out log-likelihood of class laws against the bytes of a class.

    A line per position, over the numbers of components, which stand in the marks; means
    over categories and levels.

    How to read it: higher is a better law, farther left a smaller one. Where a line
    turns down, more components fit the images that they saw, and no others.

    Args:
        laws: Of `measure_laws`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis.alignment import measure_laws, plot_laws
        >>> ax = plot_laws(measure_laws(run, components=(1, 2)))
    """
    ax = ax or plt.gca()
    keys = ["position", "places", "components"]
    value = laws.groupby(keys, sort=False)["value"].mean()
    per_class = laws.groupby([*keys, "category"], sort=False)["n_bytes"].sum()
    size = per_class.groupby(keys, sort=False).mean()
    points = pd.DataFrame({"value": value, "size": size}).reset_index()
    several = points["places"].nunique() > 1
    for (position, places), rows in points.groupby(["position", "places"], sort=False):
        label = POSITION_LABELS[position]
        if several and position != "pooled":
            label += f" ({places})"
        color = POSITION_COLORS[position]
        look = {"marker": "o", "ms": 26, "color": color, **kwargs}
        is_light = contrast(color, "black") > contrast(color, "white")
        ax.plot(rows["size"], rows["value"], label=label, **look)
        for row in rows.itertuples():
            ax.annotate(
                f"{row.components}",
                (row.size, row.value),
                ha="center",
                va="center_baseline",
                size=14,
                color="black" if is_light else "white",
            )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(lambda n, _: bytes_of(n))
    ax.minorticks_off()
    ax.set(
        xlabel="bytes kept of a class",
        ylabel="held-out log-likelihood\nper dimension / nats",
    )
    ax.margins(y=0.15)
    ax.legend(title="Gaussians of features,", markerscale=0.5)
    return ax
