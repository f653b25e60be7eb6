"""Methods beside each other.

What they reach for the bytes they keep, and what stability costs in plasticity.
"""

__all__ = ["plot_bytes", "plot_stability"]

import re
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.style import MARKERS, NAMES, TASK_COLORS

DODGE = 1.3  # between methods that keep nothing, so that none hides another
# An option whose value is a word: such methods are no strengths of one another.
KIND = re.compile(r" [a-z]+[,)]")
# References that span the axes.
LINES = {
    "joint": "-",
    "finetune": "--",
    "x_gaussian": ":",
    "x_knn": "-.",
}


def plot_bytes(
    compared: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC of the last model against the bytes kept.

    On a logarithmic axis; a line joins strengths.

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
    rows = _wide(compared, metric, "final_mean").assign(
        bytes=_wide(compared, "", "kept_bytes")["value"]
    )
    peers = rows[~rows["strategy"].isin(LINES)].dropna(subset=["bytes"])
    least, most = (
        peers.loc[peers["bytes"] > 0, "bytes"].agg(["min", "max"]).fillna(10.0)
    )
    # Where nothing is drawn: a decade left of the fewest bytes.
    edge = 10.0 ** (len(f"{least:.0f}") - 2)
    styles = _styles(compared)
    free = [
        name
        for name, group in peers.groupby("strategy", sort=False)
        if not group["bytes"].any()
    ]
    for name, group in peers.groupby("strategy", sort=False):
        place = edge * DODGE ** free.index(name) if name in free else edge
        group = group.assign(x=group["bytes"].clip(lower=place)).sort_values("x")
        _points(ax, group["x"], group, name, {**styles[name], **kwargs})
    _references(ax, rows)
    ax.set_xscale("log")
    ax.set(
        xlabel="bytes kept between tasks",
        ylabel=f"{NAMES.get(metric, metric)} of the last model",
    )
    ticks = [tick for tick in ax.get_xticks() if edge < tick <= 10 * most]
    ax.set_xticks([edge, *ticks], ["none", *(_bytes(tick) for tick in ticks)])
    ax.minorticks_off()
    ax.set_xlim(edge / 2, 2 * most)
    return _finish(ax, legend)


def plot_stability(
    compared: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Learning of tasks against keeping of them.

    Every strength of every method; a line joins strengths.

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
    rows = _wide(compared, metric, "bwt").assign(
        learnt=_wide(compared, metric, "learning_score")["value"]
    )
    rows = rows[~rows["strategy"].str.startswith("x_")]
    styles = _styles(compared)
    for name, group in rows.groupby("strategy", sort=False):
        _points(ax, group["learnt"], group, name, {**styles[name], **kwargs})
    ax.axhline(0, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set(
        xlabel=f"learning score, {NAMES.get(metric, metric)}",
        ylabel="bwt (negative: loss)",
    )
    return _finish(ax, legend)


def _wide(compared: pd.DataFrame, metric: str, quantity: str) -> pd.DataFrame:
    rows = compared[(compared["metric"] == metric) & (compared["quantity"] == quantity)]
    if rows.empty:
        raise ValueError(
            f"Expected rows with metric={metric!r} and quantity={quantity!r}; got none "
            "in the table."
        )
    return rows.set_index("method")[["strategy", "value", "low", "high"]]


def _styles(compared: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Colour and marker of each strategy.

    The same in every figure of one table.
    """
    names = [
        name
        for name in compared["strategy"].unique()
        if name != "joint" and not name.startswith("x_")
    ]
    common = {"ls": "-", "lw": 1.5, "elinewidth": 1.5}
    return {
        name: {"color": TASK_COLORS[i % 7], "marker": MARKERS[i % 8], **common}
        for i, name in enumerate(names)
    }


def _points(
    ax: Axes, x: pd.Series, group: pd.DataFrame, name: str, style: dict[str, Any]
) -> None:
    error = (
        None
        if group["low"].isna().all()
        else [group["value"] - group["low"], group["high"] - group["value"]]
    )
    if any(KIND.search(method) for method in group.index):
        style = {**style, "ls": "none"}
    _, caps, bars = ax.errorbar(x, group["value"], yerr=error, label=name, **style)
    for bar in (*caps, *bars):
        bar.set_alpha(0.3)


def _references(ax: Axes, rows: pd.DataFrame) -> None:
    for name, style in LINES.items():
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
    for power, unit in ((9, "G"), (6, "M"), (3, "K")):
        if n >= 10**power:
            return f"{n / 10**power:g}{unit}"
    return f"{n:g}"


def _finish(ax: Axes, legend: bool) -> Axes:
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax
