"""Witnesses drawn, block by block."""

__all__ = ["FLOW_STYLES", "plot_accessibility", "plot_representations"]

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, matching, refuse_strategies
from analysis.style import legend_beside

# Not the colours of tasks.
FLOW_STYLES = {
    "old": {"label": "just learned", "color": "#332288", "marker": "o", "ls": "--"},
    "new": {"label": "last model", "color": "#CC6677", "marker": "s", "ls": "-"},
    "untrained": {"label": "untrained flow", "color": "0.45", "marker": "v", "ls": ":"},
}
HEAD_LABELS = {
    "one_class": "image AUROC of one Gaussian",
    "class": "patches given to their class",
}
MEASURE_LABELS = {
    "discrepancy": "discrepancy, √(1 − R²)",
    "cka": "linear CKA",
}


@alike
def plot_accessibility(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    head: str = "one_class",
    level: str = "mean",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Simple heads behind each coupling block, just learned and after later tasks.

    How to read it: the gap between the lines is what became harder to reach; where it
    opens is the block that did it. The level of block 0 is what the features alone
    give: a line on it shows nothing that the flow had to learn.

    Args:
        terms: Of `accessibility_terms`, by all tasks or of one.
        ax: Where to draw; new axes by default.
        head: `"one_class"` or `"class"`.
        level: Index of a feature level, or `"mean"`.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.

    Raises:
        ValueError: Several strategies or tasks, or none of what is asked.

    Example:
        >>> from analysis.witnesses import accessibility_terms, measure_accessibility
        >>> from analysis.witnesses import plot_accessibility
        >>> ax = plot_accessibility(accessibility_terms(measure_accessibility(run)))
    """
    ax = ax or plt.gca()
    rows = chosen(terms, head=head, level=level)
    _refuse_several(rows)
    for flow in ("old", "new"):
        _draw_line(ax, chosen(rows, term=flow), FLOW_STYLES[flow], kwargs)
    floor = matching(rows, term="new", block=0)["value"].iloc[0]
    ax.axhline(floor, color="0.6", lw=1.5, ls=":", zorder=0, label="features alone")
    ax.set(xlabel="coupling blocks passed", ylabel=HEAD_LABELS[head])
    if legend:
        legend_beside(ax)
    return ax


@alike
def plot_representations(
    levels: pd.DataFrame,
    *,
    ax: Axes | None = None,
    measure: str = "discrepancy",
    level: str = "mean",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """How far each block's output is from what it was, beside an untrained flow's.

    How to read it: the block where the line of the last model leaves 0 is the first
    that shows an affine head less than before. On or above the line of the untrained
    flow it shows no more of the old output than a flow that learned nothing. CKA begins
    at 1 and falls with any move but a rotation, harmless ones too.

    Args:
        levels: Of `representation_levels`, by all tasks or of one.
        ax: Where to draw; new axes by default.
        measure: `"discrepancy"` or `"cka"`.
        level: Index of a feature level, or `"mean"`.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.

    Raises:
        ValueError: Several strategies or tasks, or none of what is asked.

    Example:
        >>> from analysis.witnesses import measure_representations
        >>> from analysis.witnesses import plot_representations, representation_levels
        >>> levels = representation_levels(measure_representations(run))
        >>> ax = plot_representations(levels)
    """
    ax = ax or plt.gca()
    rows = chosen(levels, measure=measure, level=level)
    _refuse_several(rows)
    for flow in ("new", "untrained"):
        _draw_line(ax, chosen(rows, flow=flow), FLOW_STYLES[flow], kwargs)
    ax.set(xlabel="coupling blocks passed", ylabel=MEASURE_LABELS[measure])
    if legend:
        legend_beside(ax)
    return ax


def _draw_line(
    ax: Axes, line: pd.DataFrame, style: dict[str, Any], options: dict[str, Any]
) -> None:
    """A line over blocks in its interval."""
    look = {**style, **options}
    ax.plot(line["block"], line["value"], **look)
    band = {"color": look["color"], "alpha": 0.12, "lw": 0}
    ax.fill_between(line["block"], line["low"], line["high"], **band)
    ax.set_xticks(sorted(line["block"].unique()))


def _refuse_several(rows: pd.DataFrame) -> None:
    """Refuse a table of several strategies or tasks.

    Raises:
        ValueError: There are more than one.
    """
    refuse_strategies(rows)
    if "task" in rows and rows["task"].nunique() > 1:
        n = rows["task"].nunique()
        raise ValueError(
            f"Expected one task, or a mean over all (by='all'); got {n} of them."
        )
