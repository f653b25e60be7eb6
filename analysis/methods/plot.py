"""Methods drawn beside each other: AUROC for bytes kept, stability for plasticity."""

__all__ = ["plot_bytes", "plot_stability"]

import re
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import matching, of_tables
from analysis.style import (
    LABELS,
    MARKERS,
    TASK_COLORS,
    dotted_line,
    error_bars,
    legend_beside,
)

# Between methods that keep nothing, so that none hides another.
DODGE = 1.3
# An option whose value is a word: such methods are no strengths of one another.
WORD_OPTION = re.compile(r" [a-z]+[,)]")
# References that span the axes.
REFERENCE_LINES = {"joint": "-", "finetune": "--", "x_gaussian": ":", "x_knn": "-."}


@of_tables
def plot_bytes(
    compared: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC of the last model against the bytes kept, on a logarithmic axis.

    A line joins strengths.

    How to read it: up and to the left is better. Compare methods on a vertical line, at
    equal bytes; those that keep nothing stand at the left edge. Horizontal lines are
    references.

    Args:
        compared: Of `analysis.methods`.
        ax: Where to draw; new axes by default.
        metric: `image_auroc` or `pixel_auroc`.
        legend: Whether to name the methods.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    kept = _of_methods(compared, "", "kept_bytes")["value"]
    rows = _of_methods(compared, metric, "final_mean").assign(bytes=kept)
    peers = rows[~rows["strategy"].isin(REFERENCE_LINES)].dropna(subset=["bytes"])
    some = peers.loc[peers["bytes"] > 0, "bytes"]
    least, most = some.agg(["min", "max"]).fillna(10.0)
    # Where those stand that keep nothing: a decade left of the fewest bytes.
    edge = 10.0 ** (len(f"{least:.0f}") - 2)
    place = edge
    styles = _styles(compared)
    for name, group in peers.groupby("strategy", sort=False):
        is_free = not group["bytes"].any()
        x = group["bytes"].clip(lower=place if is_free else edge)
        group = group.assign(x=x).sort_values("x")
        _points(ax, group, {"label": name, **styles[name], **kwargs})
        if is_free:
            place *= DODGE
    _references(ax, rows)
    _byte_axis(ax, edge, most)
    ax.set(
        xlabel="bytes kept between tasks",
        ylabel=f"{LABELS.get(metric, metric)} of the last model",
    )
    if legend:
        legend_beside(ax)
    return ax


@of_tables
def plot_stability(
    compared: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Learning of tasks against keeping of them, at every strength of every method.

    A line joins strengths.

    How to read it: right learns better, up forgets less. A line that runs from lower
    right to upper left trades one for the other; a point above and right of fine-tuning
    gains both. No strength is picked.

    Args:
        compared: Of `analysis.methods`.
        ax: Where to draw; new axes by default.
        metric: `image_auroc` or `pixel_auroc`.
        legend: Whether to name the methods.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = _of_methods(compared, metric, "bwt")
    learnt = _of_methods(compared, metric, "learning_score")
    rows = rows.assign(x=learnt["value"])
    rows = rows[~rows["strategy"].str.startswith("x_")]
    styles = _styles(compared)
    for name, group in rows.groupby("strategy", sort=False):
        _points(ax, group, {"label": name, **styles[name], **kwargs})
    dotted_line(ax, y=0)
    ax.set(
        xlabel=f"learning score, {LABELS.get(metric, metric)}",
        ylabel="bwt (negative: loss)",
    )
    if legend:
        legend_beside(ax)
    return ax


def _of_methods(compared: pd.DataFrame, metric: str, quantity: str) -> pd.DataFrame:
    """One quantity of every method, with its interval."""
    rows = matching(compared, metric=metric, quantity=quantity)
    if rows.empty:
        raise ValueError(
            f"Expected rows with metric={metric!r} and quantity={quantity!r}; got none "
            "in the table."
        )
    return rows.set_index("method")[["strategy", "value", "low", "high"]]


def _styles(compared: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Colour and marker of each strategy, the same in every figure of one table."""
    is_drawn = ~compared["strategy"].str.match("joint$|x_")
    names = compared.loc[is_drawn, "strategy"].unique()
    return {
        name: {
            "color": TASK_COLORS[i % 7],
            "marker": MARKERS[i % 8],
            "ls": "-",
            "lw": 1.5,
            "elinewidth": 1.5,
        }
        for i, name in enumerate(names)
    }


def _points(ax: Axes, rows: pd.DataFrame, style: dict[str, Any]) -> None:
    """The strengths of one method, with intervals where they are known."""
    if any(WORD_OPTION.search(method) for method in rows.index):
        style = {**style, "ls": "none"}
    error = None if rows["low"].isna().all() else error_bars(rows)
    _, caps, bars = ax.errorbar(rows["x"], rows["value"], yerr=error, **style)
    for bar in (*caps, *bars):
        bar.set_alpha(0.3)


def _byte_axis(ax: Axes, edge: float, most: float) -> None:
    """A logarithmic axis of bytes whose left edge stands for none."""
    ax.set_xscale("log")
    ticks = [tick for tick in ax.get_xticks() if edge < tick <= 10 * most]
    labels = [_bytes(tick) for tick in ticks]
    ax.set_xticks([edge, *ticks], ["none", *labels])
    ax.minorticks_off()
    ax.set_xlim(edge / 2, 2 * most)


def _references(ax: Axes, rows: pd.DataFrame) -> None:
    for name, style in REFERENCE_LINES.items():
        if name in rows.index:
            ax.axhline(
                rows.loc[name, "value"],
                color="0.35",
                lw=2,
                ls=style,
                label=name,
                zorder=0,
            )


def _bytes(n: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if n >= size:
            return f"{n / size:g}{unit}"
    return f"{n:g}"
