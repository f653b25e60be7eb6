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
from analysis.style import dotted_line, error_bars, legend_beside, task_color

# Not the colours of tasks: Tol's muted scheme for what can be set right, grey for what
# cannot.
TERM_COLORS = {
    "confusion": "#44AA99",
    "center drift": "#DDCC77",
    "alignment": "#AA4499",
    "residual": "0.35",
}
FLOW_STYLES = {
    "old": {"label": "flow just learned", "color": "0.35", "ls": "--", "marker": "s"},
    "new": {"label": "new flow", "color": "#AA4499", "ls": "-", "marker": "o"},
    "untrained": {"label": "untrained flow", "color": "0.65", "ls": ":", "marker": "v"},
}
FAMILY_LABELS = {
    "none": "old\ncenters",
    "means": "means",
    "offsets": "offsets",
    "diagonal": "diag.",
    "full": "full",
    "affine": "affine",
}


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

    How to read it: each bar falls by its term, with the interval of the term at its
    end; a hatched bar rises, which is a gain. The coloured bars come back when
    competitors, centers and their fit are set right, the grey one does not.

    Args:
        terms: Of `ledger_terms`, by task, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index; the only one there is by default, or the mean of all in a table
            by "all".
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `Axes.bar`, of the terms.
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
    ends = {
        "width": 0.7,
        "color": "0.85" if task is None else task_color(task),
        "alpha": 1 if task is None else 0.8,
    }
    ax.bar([0, last], [level, rows.loc["final", "value"]], **ends)
    for x, (name, color) in enumerate(TERM_COLORS.items(), start=1):
        _level_line(ax, x, level)
        level = _falling_bar(ax, x, level, rows.loc[name], {"color": color, **kwargs})
    _level_line(ax, last, level)
    dotted_line(ax, y=0.5)
    ax.set_xticks(
        range(last + 1),
        ["learned", *TERM_COLORS, "now"],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    # Bars begin at 0, and a level between two terms may well lie above 1.
    ax.set(ylabel="image AUROC")
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
    hatch = "//" if value < 0 else None
    look = {"width": 0.7, "hatch": hatch, **options}
    ax.bar(x, -value, bottom=level, **look)
    ax.errorbar(
        x,
        level - value,
        yerr=[[max(0, high - value)], [max(0, value - low)]],
        color="black",
        lw=1.5,
        capsize=4,
    )
    return level - value


def _level_line(ax: Axes, x: float, level: float) -> None:
    """A thin line from the bar before x to the bar there."""
    ax.plot([x - 1.35, x + 0.35], [level, level], color="0.6", lw=1)


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
    the diamond is their sum, the drop. The grey part is what neither centers nor
    competitors explain.

    Args:
        terms: Of `ledger_terms`, by category or by task, of one strategy.
        ax: Where to draw; new axes by default.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the terms.
        **kwargs: For `Axes.barh`.
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
    drop = {
        "ms": 8,
        "mfc": "white",
        "mec": "black",
        "mew": 1.5,
        "label": "drop",
    }
    ax.plot(
        values["drop"],
        y,
        ls="",
        marker="D",
        **drop,
    )
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
    ax.set_xticks(range(len(names)), [FAMILY_LABELS[name] for name in names])
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
