"""Expansion drawn: changes by part, against the number of classes, and stages."""

__all__ = ["PLACEMENT_STYLES", "plot_expansion", "plot_expansion_size", "plot_stages"]

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, matching
from analysis.style import LABELS, dotted_line, error_bars, legend_beside, task_color

# Not the colours of tasks: Tol's muted scheme, in the order of the most informative
# comparison.
PLACEMENT_STYLES = {
    "tile": {"label": "tiled (HGAD)", "color": "#882255", "marker": "o"},
    "orthogonal": {"label": "orthogonal", "color": "#117733", "marker": "s"},
    "data": {"label": "means of the data", "color": "#332288", "marker": "^"},
    "retile": {"label": "all tiled anew", "color": "#8A6D00", "marker": "D"},
}
# What the entropy is taken over, as a column says it.
ENTROPY_LABELS = {"all": "all classes", "masked": "task 1", "log_k": "all / ln K"}
CIRCLES = {"s": 40, "fc": "none", "lw": 1.3}  # the single categories
LEAST_CHANGE = 0.05  # of AUROC, that an axis shows on both sides of 0
MOST_TICKS = 8
# The first is wide enough to be seen around the others.
STAGE_STYLES = (
    {"marker": "o", "ms": 19, "mfc": "white", "mew": 2},
    {"marker": "X", "ms": 13, "mew": 0},
    {"marker": "D", "ms": 10, "mew": 0},
)


@alike
def plot_expansion(
    drops: pd.DataFrame,
    *,
    ax: Axes | None = None,
    entropy: Sequence[str] = ("all",),
    added: int | None = None,
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Change of image AUROC by score part and placement, the mean with its interval.

    How to read it: small circles are categories. The likelihood cannot change while old
    centers stay; what the tiled centers lose and the orthogonal ones keep is placement,
    what both lose is an entropy over more classes.

    Args:
        drops: Of `expansion_drops`.
        ax: Where to draw; new axes by default.
        entropy: Over which classes: `all`, `masked` or `log_k`, or several of them side
            by side; the likelihood, which knows none, stands there once.
        added: Number of new classes; the fewest by default.
        given: `"category"` or `"None"`.
        legend: Whether to name the placements.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.expansion import expansion_drops, measure_expansion
        >>> from analysis.expansion import plot_expansion
        >>> ax = plot_expansion(expansion_drops(measure_expansion(run)))
    """
    ax = ax or plt.gca()
    rows = pd.concat([chosen(drops, entropy=one, given=given) for one in entropy])
    rows = rows[(rows["part"] != "logp") | (rows["entropy"] == entropy[0])]
    rows = chosen(rows, added=rows["added"].min() if added is None else added)
    columns = list(dict.fromkeys(zip(rows["part"], rows["entropy"])))
    at = [columns.index(column) for column in zip(rows["part"], rows["entropy"])]
    rows = rows.assign(x=at)
    places = [name for name in PLACEMENT_STYLES if name in set(rows["placement"])]
    shifts = np.linspace(-0.27, 0.27, len(places)) if len(places) > 1 else [0.0]
    for shift, name in zip(shifts, places):
        one = matching(rows, placement=name)
        one = one.assign(x=one["x"] + shift)
        _changes(ax, one, PLACEMENT_STYLES[name], kwargs)
    dotted_line(ax, y=0)
    ax.set_xticks(range(len(columns)), [_column(*column) for column in columns])
    ax.set(ylabel="change of image AUROC", xlim=(-0.5, len(columns) - 0.5))
    if legend:
        look = {"ls": "", "marker": "o", "ms": 6, "mfc": "none", "mec": "0.35"}
        ax.errorbar([], [], label="one category", **look)
        legend_beside(ax, title="new centers")
    return ax


def _column(part: str, entropy: str) -> str:
    """Name of a column: the part of the score, and what its entropy is taken over."""
    if part == "logp":
        return _part(part)
    return f"{_part(part)},\n{ENTROPY_LABELS.get(entropy, entropy)}"


def _part(part: str) -> str:
    return LABELS.get(part, part).replace(" (HGAD)", "")


def _changes(
    ax: Axes,
    rows: pd.DataFrame,
    style: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """The changes under one placement: small circles beside their mean."""
    is_mean = rows["category"] == "mean"
    single = rows[~is_mean]
    ax.scatter(single["x"] - 0.07, single["change"], ec=style["color"], **CIRCLES)
    mean = rows[is_mean]
    ax.errorbar(
        mean["x"],
        mean["change"],
        yerr=error_bars(mean, "change"),
        ls="",
        **{**style, **options},
    )


@alike
def plot_expansion_size(
    drops: pd.DataFrame,
    *,
    ax: Axes | None = None,
    part: str = "product",
    entropy: str = "all",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Change of image AUROC of the first task against the number of added classes.

    There is one line a placement, a mean over categories with its interval.

    How to read it: the lines begin at the same model, and nothing is trained along
    them. An interval that holds 0 is no change that these test images could tell.

    Args:
        drops: Of `expansion_drops`.
        ax: Where to draw; new axes by default.
        part: Score part.
        entropy: Over which classes: `all`, `masked` or `log_k`.
        given: `"category"` or `"None"`.
        legend: Whether to name the placements.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.expansion import expansion_drops, measure_expansion
        >>> from analysis.expansion import plot_expansion_size
        >>> ax = plot_expansion_size(expansion_drops(measure_expansion(run)))
    """
    ax = ax or plt.gca()
    rows = chosen(drops, part=part, entropy=entropy, given=given, category="mean")
    rows = rows[["placement", "added", "change", "low", "high"]]
    places = [name for name in PLACEMENT_STYLES if name in set(rows["placement"])]
    sizes = [0, *sorted(rows["added"].unique())]
    every = -(-len(sizes) // MOST_TICKS)
    marks = {"markevery": every, "errorevery": every}
    # Side by side, so that none hides another.
    shifts = np.linspace(-0.2, 0.2, len(places)) * min(np.diff(sizes)) * every
    for shift, name in zip(shifts, places):
        one = matching(rows, placement=name)
        start = one.head(1).assign(added=0, change=0.0, low=0.0, high=0.0)
        one = pd.concat([start, one])
        ax.errorbar(
            one["added"] + shift,
            one["change"],
            yerr=error_bars(one, "change"),
            **{**PLACEMENT_STYLES[name], **marks, **kwargs},
        )
    dotted_line(ax, y=0)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -LEAST_CHANGE), max(high, LEAST_CHANGE))
    ax.set(xlabel="added classes", ylabel=f"change of image AUROC, {_part(part)}")
    ax.set_xticks(sizes[::every])
    if legend:
        legend_beside(ax, title="new centers")
    return ax


@alike
def plot_stages(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC of each category from stage to stage, in the slides' form.

    How to read it: the hollow point is the category just learned; the length of its
    line is what the stages change.

    Args:
        table: `stage category` and a column of the metric, stages in order, three at
            most.
        ax: Where to draw; new axes by default.
        metric: The column to draw.
        legend: Whether to name the stages.
        **kwargs: For `Axes.plot`, of the points.

    Example:
        >>> from analysis.expansion import expansion_table, measure_expansion
        >>> from analysis.expansion import plot_stages
        >>> ax = plot_stages(expansion_table(measure_expansion(run)))
    """
    ax = ax or plt.gca()
    categories = table["category"].unique()
    stages = table["stage"].unique()
    wide = table.pivot(index="category", columns="stage", values=metric)
    values = wide.loc[categories, stages]
    if len(stages) > len(STAGE_STYLES):
        names = ", ".join(stages)
        raise ValueError(f"Expected {len(STAGE_STYLES)} stages at most; got {names}.")
    y = np.arange(len(values))
    color = task_color(0)
    ax.hlines(
        y,
        values.min(axis=1),
        values.max(axis=1),
        color=color,
        alpha=0.35,
        lw=4,
        zorder=1,
    )
    for stage, style in zip(stages, STAGE_STYLES):
        look = {"ls": "", "color": color, **style, **kwargs}
        ax.plot(values[stage], y, label=stage.replace("_", " "), **look)
    dotted_line(ax, x=0.5)
    ax.set_yticks(y, values.index)
    ax.set(xlabel=LABELS.get(metric, metric), ylim=(len(values) - 0.5, -0.5))
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(stages))
    return ax
