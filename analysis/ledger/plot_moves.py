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

from analysis.rows import alike, chosen, matching, refuse_strategies
from analysis.style import dotted_line, legend_beside

# Not the colours of tasks: Tol's muted scheme, and one hue, darker with every freedom
# that a map has.
SIDE_STYLES = {
    "first": {"color": "#332288", "marker": "o"},
    "last": {"color": "#CC6677", "marker": "s"},
}
FIT_STYLES = {
    "rigid": {"label": "rigid", "color": "#3D9E93"},
    "affine": {"label": "affine", "color": "#1F6F66"},
    "class_affine": {"label": "affine per class", "color": "#0B3B36"},
}
PART_COLORS = {"mixture": "#AA4499", "volume": "0.35"}


@alike
def plot_transplant(
    levels: pd.DataFrame,
    *,
    ax: Axes | None = None,
    part: str = "product",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC against the number of old coupling blocks, with its interval.

    How to read it: left the new flow, right the old one. Solid lines have refitted
    centers, dashed ones the old; where the line of the first blocks jumps is where the
    new flow begins to harm.

    Args:
        levels: Of `transplant_levels`.
        ax: Where to draw; new axes by default.
        part: Score part.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.

    Raises:
        ValueError: Several strategies.

    Example:
        >>> from analysis.ledger import plot_transplant, transplant
        >>> from analysis.ledger import transplant_levels
        >>> ax = plot_transplant(transplant_levels(transplant(run)))
    """
    ax = ax or plt.gca()
    refuse_strategies(levels)
    rows = chosen(levels, part=part)
    for side, centers in dict.fromkeys(zip(rows["side"], rows["centers"])):
        line = matching(rows, side=side, centers=centers)
        is_old = centers == "old"
        named = "old centers" if is_old else f"refitted ({centers})"
        style = {
            **SIDE_STYLES[side],
            "ls": "--" if is_old else "-",
            "mfc": "white" if is_old else None,
            "label": f"{side} blocks, {named}",
            **kwargs,
        }
        ax.plot(line["blocks"], line["value"], **style)
        band = {"color": style["color"], "alpha": 0.12, "lw": 0}
        ax.fill_between(line["blocks"], line["low"], line["high"], **band)
    dotted_line(ax, y=0.5)
    ax.set_xticks(sorted(rows["blocks"].unique()))
    ax.set(xlabel="blocks from the old flow", ylabel="image AUROC")
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
    its kind can undo. Circles are the feature levels of each run.

    Args:
        moves: Of `transport`; a mean over levels and runs, one group of bars per task.
        ax: Where to draw; new axes by default.
        source: `"images"` or `"mixture"`.
        legend: Whether to name the maps.
        **kwargs: For `Axes.bar`.

    Example:
        >>> from analysis.ledger import plot_transport, transport
        >>> ax = plot_transport(transport(run))
    """
    ax = ax or plt.gca()
    rows = chosen(moves, source=source, category="all")
    means = rows.groupby(["task", "quantity"])["value"].mean().unstack()
    x = np.arange(len(means))
    circles = {"s": 40, "fc": "white", "ec": "black", "lw": 1.2, "zorder": 3}
    for shift, (name, style) in zip((-0.27, 0, 0.27), FIT_STYLES.items()):
        look = {"width": 0.25, **style, **kwargs}
        ax.bar(x + shift, means[name], **look)
        single = rows[rows["quantity"] == name]
        at = means.index.get_indexer(single["task"]) + shift
        ax.scatter(at, single["value"], **circles)
    ax.scatter([], [], label="one level", **circles)
    ax.set_xticks(x, [str(task + 1) for task in means.index])
    ax.set(xlabel="task", ylabel="share explained, R²", ylim=(0, 1.02))
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

    Example:
        >>> from analysis.ledger import plot_volume, transport
        >>> ax = plot_volume(transport(run))
    """
    ax = ax or plt.gca()
    rows = chosen(moves, source=source)
    rows = rows[rows["category"] != "all"]
    groups = rows.groupby(["category", "quantity"], sort=False)
    means = groups["value"].mean().unstack()[[*PART_COLORS]]
    y = np.arange(len(means))
    for shift, (name, color) in zip((-0.2, 0.2), PART_COLORS.items()):
        look = {"height": 0.38, "color": color, "label": name, **kwargs}
        ax.barh(y + shift, means[name], **look)
    dotted_line(ax, x=0)
    ax.set_yticks(y, means.index)
    # One class thrown far out would hide all others.
    ax.set_xscale("symlog", linthresh=1.0)
    low, high = means.min(axis=None), means.max(axis=None)
    ax.set_xticks(*_powers(low, high))
    ax.set(xlim=(min(1.5 * low, -1.1), max(1.5 * high, 1.1)))
    ax.set(xlabel="change of log p / D, nats", ylim=(len(means) - 0.5, -0.5))
    if legend:
        legend_beside(ax)
    return ax


def _powers(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of an axis that is logarithmic beyond ±1: 0, and few powers of ten."""
    ticks = [0.0]
    for sign, reach in ((-1, -low), (1, high)):
        top = max(0, int(np.log10(max(reach, 1.0))))
        ticks += [sign * 10.0**power for power in range(0, top + 1, max(1, top // 2))]
    ticks.sort()
    return ticks, [_written(tick) for tick in ticks]


def _written(power: float) -> str:
    """A power of ten in full, where it is short enough."""
    sign = "−" if power < 0 else ""
    size = abs(power)
    exponent = round(np.log10(size)) if size else 0
    return f"{sign}{size:,.0f}" if exponent < 5 else f"{sign}$10^{{{exponent}}}$"
