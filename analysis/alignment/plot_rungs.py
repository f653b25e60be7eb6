"""The ladder drawn: from a run as it was trained up to joint training."""

__all__ = ["plot_ladder"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, matching
from analysis.style import byte_axis, error_bars, label_of, legend_beside

LOOKS = {
    "as trained": {"color": "black", "marker": "D"},
    "draws through the flow": {"color": "#CC79A7", "marker": "^"},
    "refit, means": {"color": "#882255", "marker": "o"},
    "refit, covariances": {"color": "#117733", "marker": "s"},
}
APART = 10**0.09  # between the rungs of one strategy


@alike
def plot_ladder(
    rungs: pd.DataFrame, *, ax: Axes | None = None, joint: float, **kwargs: Any
) -> Axes:
    """Old-task AUROC of each strategy, rung by rung, against the bytes that it keeps.

    How to read it: a column is one strategy. What its lower points lack to the green
    square, a better mixture would give under that very flow; what the square lacks to
    the line, only training can.

    Args:
        rungs: Of `ladder`.
        ax: Where to draw; new axes by default.
        joint: Image AUROC of joint training on the same tasks.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    kept = matching(rungs, rung="as trained").set_index("strategy")["n_bytes"]
    edge = byte_axis(ax, kept)
    x = rungs["strategy"].map(kept).clip(lower=edge)
    for i, (rung, look) in enumerate(LOOKS.items()):
        rows = rungs[rungs["rung"] == rung]
        options = {"ls": "", "lw": 1.5, "ms": 10, "label": rung, **look, **kwargs}
        bars = error_bars(rows, "image_auroc")
        ax.errorbar(
            x[rows.index] * APART ** (i - 1.5),
            rows["image_auroc"],
            yerr=bars,
            **options,
        )
    ax.axhline(joint, color="black", lw=2, zorder=0, label="joint training")
    bottom = rungs.groupby("strategy")["low"].min()
    for strategy, n_bytes in kept.items():
        below = {"xytext": (0, -8), "textcoords": "offset points"}
        place = (max(n_bytes, edge), bottom[strategy])
        ax.annotate(label_of(strategy), place, ha="center", va="top", **below)
    places = kept.clip(lower=edge)
    ax.set_xlim(places.min() / 4, places.max() * 4)
    ax.set_ylim(
        rungs["low"].min() - 0.06, np.maximum(rungs["high"].max(), joint) + 0.02
    )
    ax.set(xlabel="bytes kept of old classes", ylabel="image AUROC on the old tasks")
    legend_beside(ax)
    return ax
