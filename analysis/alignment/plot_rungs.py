"""The ladder drawn: from a run as it was trained up to joint training."""

__all__ = ["plot_ladder"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, matching
from analysis.style import bytes_of, error_bars, label_of, legend_beside

LOOKS = {
    "as trained": {"color": "black", "marker": "D"},
    "draws through the flow": {"color": "#CC79A7", "marker": "^"},
    "refit, means": {"color": "#882255", "marker": "o"},
    "refit, covariances": {"color": "#117733", "marker": "s"},
}
APART = 0.16  # between the rungs of one strategy, of the way to the next one


@alike
def plot_ladder(
    rungs: pd.DataFrame, *, ax: Axes | None = None, joint: float, **kwargs: Any
) -> Axes:
    """Old-task AUROC of each strategy, rung by rung, in the order of the bytes kept.

    How to read it: a column is one strategy, with the bytes that it keeps of old
    classes. What its lower points lack to the green square, a better mixture would give
    under that very flow; what the square lacks to the line, only training can.

    Args:
        rungs: Of `ladder`.
        ax: Where to draw; new axes by default.
        joint: Image AUROC of joint training on the same tasks.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.alignment import alignment_table, ladder, measure_alignment
        >>> from analysis.alignment import plot_ladder
        >>> table = alignment_table(measure_alignment(run, aligner=("sdc", "refit")))
        >>> joint = table.query("aligner == 'joint'")["image_auroc"].item()
        >>> ax = plot_ladder(ladder(table), joint=joint)
    """
    ax = ax or plt.gca()
    kept = matching(rungs, rung="as trained").set_index("strategy")["n_bytes"]
    kept = kept.sort_values(kind="stable")
    x = rungs["strategy"].map(list(kept.index).index)
    for i, (rung, look) in enumerate(LOOKS.items()):
        rows = rungs[rungs["rung"] == rung]
        options = {"ls": "", "lw": 1.5, "ms": 10, "label": rung, **look, **kwargs}
        bars = error_bars(rows, "image_auroc")
        place = x[rows.index] + APART * (i - 1.5)
        ax.errorbar(place, rows["image_auroc"], yerr=bars, **options)
    ax.axhline(joint, color="black", lw=2, zorder=0, label="joint training")
    names = [f"{label_of(name)}\n{bytes_of(n)}" for name, n in kept.items()]
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", size=15)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylabel="image AUROC on the old tasks")
    ax.set_xlabel("strategy, and bytes kept of old classes")
    legend_beside(ax)
    return ax
