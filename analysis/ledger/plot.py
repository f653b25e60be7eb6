"""Forgetting ledger drawn: waterfall, terms of every category, refits by family."""

__all__ = [
    "FAMILY_LABELS",
    "TERM_COLORS",
    "plot_families",
    "plot_ledger",
    "plot_waterfall",
]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, matching
from analysis.style import dotted_line, error_bars, legend_beside

# Not the colours of tasks: grey for what nothing sets right, then what comes back with
# a refit, with the old centers and without later classes. Each can be read on white.
TERM_COLORS = {
    "residual": "0.5",
    "alignment": "#AA4499",
    "center drift": "#A6761D",
    "confusion": "#117733",
}
FLOW_STYLES = {
    "old": {"label": "flow just learned", "color": "0.5", "ls": "--", "marker": "s"},
    "new": {"label": "new flow", "color": "#AA4499", "ls": "-", "marker": "o"},
    "untrained": {
        "label": "untrained flow",
        "color": "black",
        "ls": ":",
        "marker": "v",
    },
}
FAMILY_LABELS = {
    "none": "nothing",
    "means": "means",
    "offsets": "offsets",
    "diagonal": "diagonal",
    "full": "full",
    "affine": "affine",
}


# Each word ends below its tick.
TILTED: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}


@alike
def plot_waterfall(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """Waterfall from what a task reached down to what is left, by terms.

    How to read it: what falls at the grey bar even a refit leaves lost, the coloured
    ones come back when what they name is set right. A level is the AUROC of a model
    with all that stands to its right set right, but for what a refit does to the old
    flow. A number is a term, with its interval at the end of its bar; a plus is a gain.

    Args:
        terms: Of `ledger_terms`, of one strategy, by task or of all.
        ax: Where to draw; new axes by default.
        task: Its index, in a table by task; the only one there is by default.
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `Axes.bar`, of the terms.

    Example:
        >>> from analysis.ledger import ledger_terms, measure_ledger, plot_waterfall
        >>> ax = plot_waterfall(ledger_terms(measure_ledger(run), by="all"))
    """
    ax = ax or plt.gca()
    rows = chosen(terms, part=part, given=given)
    if task is not None:
        rows = chosen(rows, task=task)
    if rows["term"].duplicated().any():
        raise ValueError(
            "Expected one strategy and one task; got several. Choose one of them."
        )
    rows = rows.set_index("term")
    last = len(TERM_COLORS) + 1
    level = rows.loc["learned", "value"]
    for x, name in ((0, "learned"), (last, "final")):
        value = rows.loc[name, "value"]
        ax.bar(x, value, width=0.7, fc="white", ec="black", lw=2)
        _number(ax, x, value, f"{value:.2f}", "black")
    for x, (name, color) in enumerate(TERM_COLORS.items(), start=1):
        _level_line(ax, x, level)
        level = _falling_bar(ax, x, level, rows.loc[name], {"color": color, **kwargs})
    _level_line(ax, last, level)
    dotted_line(ax, y=0.5)
    ax.set_xticks(range(last + 1), ["learned", *TERM_COLORS, "now"], **TILTED)
    ax.set(ylabel="image AUROC", ylim=(0, 1.1))  # room for the number above a bar
    ax.set_yticks(np.linspace(0, 1, 6))
    return ax


def _falling_bar(
    ax: Axes,
    x: float,
    level: float,
    term: pd.Series,
    options: dict[str, Any],
) -> float:
    """A bar that falls from a level by a term, with the term's interval.

    Returns:
        The level that it ends at.
    """
    value, low, high = term[["value", "low", "high"]]
    end = level - value
    ax.bar(x, -value, bottom=level, **{"width": 0.7, **options})
    reach = [[max(0, high - value)], [max(0, value - low)]]
    ax.errorbar(x, end, yerr=reach, color="black", lw=1.5, capsize=4)
    text = f"{-value:+.2f}".replace("-", "−")
    _number(ax, x, max(level, level - low), text, options["color"])
    return end


def _number(ax: Axes, x: float, y: float, text: str, color: str) -> None:
    """A number above what stands at x, in its colour."""
    above = {"xytext": (0, 3), "textcoords": "offset points", "color": color}
    ax.annotate(text, (x, y), ha="center", va="bottom", size="small", **above)


def _level_line(ax: Axes, x: float, level: float) -> None:
    """A thin line from the bar before x to the bar there."""
    ax.plot([x - 1.35, x + 0.35], [level, level], color="0.5", lw=1)


@alike
def plot_ledger(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    part: str = "product",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Drop of every category, cut into its terms.

    How to read it: terms that lower the AUROC go right, terms that raised it left, and
    the diamond is their sum, the drop, with its interval. The grey part is what neither
    centers nor competitors explain.

    Args:
        terms: Of `ledger_terms`, by category or by task, of one strategy.
        ax: Where to draw; new axes by default.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the terms.
        **kwargs: For `Axes.barh`.

    Example:
        >>> from analysis.ledger import ledger_terms, measure_ledger, plot_ledger
        >>> ax = plot_ledger(ledger_terms(measure_ledger(run), by="category"))
    """
    ax = ax or plt.gca()
    rows = chosen(terms, part=part, given=given)
    if "category" not in rows:
        tasks = (rows["task"] + 1).astype(str)
        rows = rows.assign(category="task " + tasks)
    wide = rows.pivot(index="category", columns="term", values="value")
    values = wide.loc[rows["category"].unique()]
    y = np.arange(len(values))
    _stacked_bars(ax, values, kwargs)
    drop = matching(rows, term="drop").set_index("category").loc[values.index]
    diamond = {"marker": "D", "ms": 8, "mfc": "white", "mec": "black", "mew": 1.5}
    bars = {"color": "black", "lw": 1.5, "capsize": 4, "label": "drop"}
    ax.errorbar(drop["value"], y, xerr=error_bars(drop), ls="", **diamond, **bars)
    dotted_line(ax, x=0)
    ax.set_yticks(y, values.index)
    ax.use_sticky_edges = False
    ax.margins(x=0.05)
    ax.set(xlabel="drop of image AUROC", ylim=(len(values) - 0.5, -0.5))
    if legend:
        legend_beside(ax)
    return ax


def _stacked_bars(ax: Axes, values: pd.DataFrame, options: dict[str, Any]) -> None:
    """A bar per row: its losses to the right, its gains to the left."""
    y = np.arange(len(values))
    lost = np.zeros(len(values))
    gained = np.zeros(len(values))
    for name, color in TERM_COLORS.items():
        look = {"color": color, "height": 0.7, **options}
        loss = values[name].clip(lower=0.0).to_numpy()
        gain = values[name].clip(upper=0.0).to_numpy()
        ax.barh(y, loss, left=lost, **{"label": name, **look})
        ax.barh(y, gain, left=gained, **look)
        lost += loss
        gained += gain


@alike
def plot_families(
    families: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Recovery by refitted centers, family by family, beside a ceiling and a control.

    How to read it: the line of the new flow starts at the old centers and runs through
    families that hold each other; the affine map stands beside them. Where it stops
    rising names the drift; what is missing to the dashed line is lost; what an
    untrained flow reaches as well was taught, not kept.

    Args:
        families: Of `ledger_families`, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index, in a table by task.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the flows.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis.ledger import ledger_families, measure_ledger
        >>> from analysis.ledger import plot_families
        >>> ax = plot_families(ledger_families(measure_ledger(run), by="all"))
    """
    ax = ax or plt.gca()
    rows = chosen(families, part=part, given=given)
    if task is not None:
        rows = chosen(rows, task=task)
    names = [name for name in FAMILY_LABELS if name in set(rows["family"])]
    rows = rows[rows["family"].isin(names)]
    rows = rows.assign(x=rows["family"].map(names.index)).sort_values("x")
    for flow, style in FLOW_STYLES.items():
        if flow in set(rows["flow"]):
            _refits(ax, matching(rows, flow=flow), {**style, **kwargs})
    dotted_line(ax, y=0.5)
    labels = [FAMILY_LABELS[name] for name in names]
    ax.set_xticks(range(len(names)), labels, **TILTED)
    ax.set(xlabel="what is refitted", ylabel="image AUROC")
    if legend:
        legend_beside(ax)
    return ax


def _refits(ax: Axes, rows: pd.DataFrame, style: dict[str, Any]) -> None:
    """A line through nested families, and a point for the affine map."""
    is_nested = rows["family"] != "affine"
    nested = rows[is_nested]
    ax.plot(nested["x"], nested["value"], **style)
    ax.fill_between(
        nested["x"],
        nested["low"],
        nested["high"],
        color=style["color"],
        alpha=0.12,
        lw=0,
    )
    affine = rows[~is_nested]
    ax.errorbar(
        affine["x"],
        affine["value"],
        yerr=error_bars(affine),
        **{**style, "ls": "", "label": None},
    )
