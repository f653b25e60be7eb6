"""Moves drawn: transplants, maps of latents, changes of log p."""

__all__ = [
    "FIT_STYLES",
    "PART_COLORS",
    "plot_transplant",
    "plot_transport",
    "plot_volume",
]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen
from analysis.style import LABELS, dotted_line, legend_beside

# Not the colours of tasks: Tol's bright and muted schemes.
SIDE_STYLES = {
    "first": {"color": "#332288", "marker": "o"},
    "last": {"color": "#CC6677", "marker": "s"},
}
FIT_STYLES = {
    "rigid": {"label": "rigid", "color": "#88CCEE"},
    "affine": {"label": "affine", "color": "#117733"},
    "class_affine": {"label": "affine per class", "color": "#332288"},
}
PART_COLORS = {"mixture": "#AA4499", "volume": "0.35"}


@alike
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
    if task is not None:
        rows = chosen(rows, task=task)
    means = rows.groupby(["side", "centers", "blocks"])["value"].mean()
    for side, centers in means.index.droplevel("blocks").unique():
        is_old = centers == "old"
        named = "old centers" if is_old else f"refitted ({centers})"
        style = {
            **SIDE_STYLES[side],
            "ls": "--" if is_old else "-",
            "mfc": "white" if is_old else None,
            "label": f"{side} blocks, {named}",
            **kwargs,
        }
        line = means[side, centers]
        ax.plot(line.index, line, **style)
    dotted_line(ax, y=0.5)
    ax.set_xticks(sorted(rows["blocks"].unique()))
    ax.set(xlabel="blocks from the old flow", ylabel=LABELS.get(metric, metric))
    if legend:
        legend_beside(ax)
    return ax


@alike
def plot_transport(
    moves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    source: str = "images",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Share of the latents' movement that a map explains: rigid, affine, per class.

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
    for shift, (name, style) in zip((-0.27, 0, 0.27), FIT_STYLES.items()):
        look = {"width": 0.25, **style, **kwargs}
        ax.bar(x + shift, means[name], **look)
    ax.set_xticks(x, [f"task {task + 1}" for task in means.index])
    ax.set(ylabel="R² of latents", ylim=(0, 1.02))
    if legend:
        legend_beside(ax)
    return ax


@alike
def plot_volume(
    moves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    source: str = "images",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Change of log p of normal patches since they were learned.

    It is split into the mixture's part and the volume's.

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
    groups = rows.groupby(["category", "quantity"], sort=False)
    means = groups["value"].mean().unstack()
    y = np.arange(len(means))
    for shift, (name, color) in zip((-0.2, 0.2), PART_COLORS.items()):
        look = {"height": 0.38, "color": color, "label": name, **kwargs}
        ax.barh(y + shift, means[name], **look)
    dotted_line(ax, x=0)
    ax.set_yticks(y, means.index)
    # One class thrown far out would hide all others.
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xticks(*_powers(np.abs(means.to_numpy()).max()))
    ax.set(xlabel="change of log p / D, nats", ylim=(len(means) - 0.5, -0.5))
    if legend:
        legend_beside(ax)
    return ax


def _powers(largest: float) -> tuple[list[float], list[str]]:
    """Ticks of an axis that is logarithmic beyond ±1: 0, and few powers of ten."""
    top = max(1, int(np.ceil(np.log10(max(largest, 1.0)))))
    chosen = range(0, top + 1, max(1, top // 2))
    powers = [10.0**power for power in chosen]
    ticks = [*(-value for value in reversed(powers)), 0.0, *powers]
    return ticks, [f"{value:,.0f}".replace("-", "−") for value in ticks]
