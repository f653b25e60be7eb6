"""Moves drawn: transplants, maps of latents, changes of log p.

Transplants, maps of latents, and the change of log p.
"""

__all__ = ["FITS", "PARTS", "plot_transplant", "plot_transport", "plot_volume"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import chosen
from analysis.style import NAMES

# Not the colours of tasks: Tol's bright and muted schemes.
SIDES = {
    "first": {"color": "#332288", "marker": "o"},
    "last": {"color": "#CC6677", "marker": "s"},
}
FITS = {"rigid": "#88CCEE", "affine": "#117733", "class_affine": "#332288"}
PARTS = {"mixture": "#AA4499", "volume": "0.35"}


def plot_transplant(
    hybrids: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC against the number of old coupling blocks.

    How to read it: left the new flow, right the old one. Solid lines have refitted
    centers, dashed ones the old; where the line of the first blocks jumps is where the
    new flow begins to harm.

    Args:
        hybrids: Of `transplant`; a mean over categories, and over runs and tasks where
            there are several.
        ax: Where to draw; new axes by default.
        task: Its index; all by default.
        part: Score part.
        metric: Its name.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = chosen(hybrids, part=part, metric=metric)
    rows = rows if task is None else chosen(rows, task=task)
    means = rows.groupby(["side", "centers", "blocks"])["value"].mean()
    for side, centers in dict.fromkeys(key[:2] for key in means.index):
        style = {
            **SIDES[side],
            "ls": "--" if centers == "old" else "-",
            "mfc": "white" if centers == "old" else None,
        }
        label = f"{side} blocks, " + (
            "old centers" if centers == "old" else f"refitted ({centers})"
        )
        line = means[side, centers]
        ax.plot(line.index, line, **{**style, "label": label, **kwargs})
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(sorted(rows["blocks"].unique()))
    ax.set(xlabel="blocks from the old flow", ylabel=NAMES.get(metric, metric))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_transport(
    moves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    source: str = "images",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Share of the latents' movement that a map explains.

    One rigid, one affine, one affine map per class.

    How to read it: full bars are a flow that moved its classes as whole bodies, which
    refitted centers can follow; what is missing above the last bar of a task no map of
    its kind can undo.

    Args:
        moves: Of `transport`; a mean over levels and runs, one group of bars per task.
        ax: Where to draw; new axes by default.
        source: `"images"` or `"mixture"`.
        legend: Whether to name the maps.
        **kwargs: For `Axes.bar`.
    """
    ax = ax or plt.gca()
    rows = chosen(moves, source=source, category="all")
    means = rows.groupby(["task", "quantity"])["value"].mean().unstack()
    x = np.arange(len(means))
    for shift, (name, color) in zip((-0.27, 0, 0.27), FITS.items()):
        label = name.replace("_", " ").replace("class affine", "affine per class")
        ax.bar(
            x + shift,
            means[name],
            **{"width": 0.25, "color": color, "label": label, **kwargs},
        )
    ax.set_xticks(x, [f"task {task + 1}" for task in means.index])
    ax.set(ylabel="R² of latents", ylim=(0, 1.02))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_volume(
    moves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    source: str = "images",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Change of log p of normal patches since they were learnt.

    Split into the mixture's part and the volume's.

    How to read it: left is less likely than before. Centers can mend the mixture's part
    and never the volume's; a mean that moves all patches alike harms no AUROC, so read
    it beside the ledger. Beyond ±1 the axis is logarithmic.

    Args:
        moves: Of `transport`; a mean over levels and runs, one bar per category.
        ax: Where to draw; new axes by default.
        source: `"images"` or `"mixture"`.
        legend: Whether to name the parts.
        **kwargs: For `Axes.barh`.
    """
    ax = ax or plt.gca()
    rows = chosen(moves, source=source)
    rows = rows[rows["category"] != "all"]
    means = rows.groupby(["category", "quantity"], sort=False)["value"].mean().unstack()
    y = np.arange(len(means))
    for shift, (name, color) in zip((-0.2, 0.2), PARTS.items()):
        ax.barh(
            y + shift,
            means[name],
            **{"height": 0.38, "color": color, "label": name, **kwargs},
        )
    ax.axvline(0, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_yticks(y, means.index)
    # One class thrown far out would hide all others.
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set(xlabel="change of log p / D", ylim=(len(means) - 0.5, -0.5))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax
