"""Methods drawn beside each other: AUROC for bytes kept, stability for plasticity."""

__all__ = ["plot_bytes", "plot_stability"]

import re
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import matching, of_tables
from analysis.style import (
    MARKERS,
    byte_axis,
    dotted_line,
    error_bars,
    label_of,
    legend_beside,
    text_color,
)

# Between methods that keep nothing, so that none hides another.
DODGE = 1.3
# An option whose value is a word: such methods are no strengths of one another.
WORD_OPTION = re.compile(r" [a-z]+[,)]")
DETECTOR = "x_"  # what the names of detectors without a flow begin with
DETECTOR_MARKERS = ("o", "^")


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
    equal bytes; those that keep nothing stand at the left end. Hollow markers are
    detectors without a flow; the horizontal line is joint training.

    Args:
        compared: Of `analysis.methods`.
        ax: Where to draw; new axes by default.
        metric: `image_auroc` or `pixel_auroc`.
        legend: Whether to name the methods.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.methods import compare_methods, plot_bytes
        >>> ax = plot_bytes(compare_methods(runs, time_steps=False))
    """
    ax = ax or plt.gca()
    kept = _of_methods(compared, "", "kept_bytes")["value"]
    rows = _of_methods(compared, metric, "final_mean").assign(bytes=kept)
    peers = rows.dropna(subset=["bytes"])
    place = edge = byte_axis(ax, peers["bytes"])
    styles = _styles(compared)
    for name, group in peers.groupby("strategy", sort=False):
        is_free = not group["bytes"].any()
        x = group["bytes"].clip(lower=place if is_free else edge)
        group = group.assign(x=x).sort_values("x")
        _points(ax, group, {**styles[name], **kwargs})
        if is_free:
            place *= DODGE
    for value in rows.loc[rows["strategy"] == "joint", "value"]:
        ax.axhline(value, color="0.35", lw=2, label=label_of("joint"), zorder=0)
    ax.set(xlabel="bytes kept between tasks", ylabel=f"final {label_of(metric)}")
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
    gains both. No strength is picked. Hollow markers are detectors without a flow,
    which cannot forget.

    Args:
        compared: Of `analysis.methods`.
        ax: Where to draw; new axes by default.
        metric: `image_auroc` or `pixel_auroc`.
        legend: Whether to name the methods.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.methods import compare_methods, plot_stability
        >>> ax = plot_stability(compare_methods(runs, time_steps=False))
    """
    ax = ax or plt.gca()
    rows = _of_methods(compared, metric, "bwt")
    learnt = _of_methods(compared, metric, "learning_score")
    rows = rows.assign(x=learnt["value"])
    styles = _styles(compared)
    for name, group in rows.groupby("strategy", sort=False):
        _points(ax, group, {**styles[name], **kwargs})
    dotted_line(ax, y=0)
    ax.set(
        xlabel=f"{label_of(metric)} when just learned",
        ylabel="change since then",
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
    """Look of each strategy, the same in every figure of one table."""
    names = [name for name in compared["strategy"].unique() if name != "joint"]
    detectors = [name for name in names if name.startswith(DETECTOR)]
    styles = {}
    for i, name in enumerate(name for name in names if name not in detectors):
        marker = MARKERS[(i + i // len(MARKERS)) % len(MARKERS)]  # colours repeat too
        styles[name] = {"color": text_color(i), "marker": marker}
    for i, name in enumerate(detectors):
        marker = DETECTOR_MARKERS[i % len(DETECTOR_MARKERS)]
        styles[name] = {"color": "black", "marker": marker, "mfc": "white", "mew": 2}
    for name, style in styles.items():
        without = " (no flow)" if name in detectors else ""
        style |= {"label": f"{label_of(name)}{without}", "ls": "-", "lw": 1.5}
    return styles


def _points(ax: Axes, rows: pd.DataFrame, style: dict[str, Any]) -> None:
    """The strengths of one method, with intervals where they are known."""
    if any(WORD_OPTION.search(method) for method in rows.index):
        style = {**style, "ls": "none"}
    error = None if rows["low"].isna().all() else error_bars(rows)
    _, caps, bars = ax.errorbar(rows["x"], rows["value"], yerr=error, **style)
    for bar in (*caps, *bars):
        bar.set_alpha(0.3)
