"""Expansion drawn: changes, AUROC against the number of classes, stages."""

__all__ = ["PLACEMENT_STYLES", "plot_expansion", "plot_expansion_size", "plot_stages"]

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
    "retile": {"label": "all tiled anew", "color": "#999933", "marker": "D"},
}
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
    entropy: str = "all",
    added: int | None = None,
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Change of image AUROC by score part and placement, the mean with its interval.

    How to read it: small points are categories. The likelihood cannot change while old
    centers stay; what the tiled centers lose and the orthogonal ones keep is placement,
    what both lose is an entropy over more classes.

    Args:
        drops: Of `expansion_drops`.
        ax: Where to draw; new axes by default.
        entropy: Over which classes: `all`, `masked` or `log_k`.
        added: Number of new classes; the fewest by default.
        given: `"category"` or `"None"`.
        legend: Whether to name the placements.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = chosen(drops, entropy=entropy, given=given)
    rows = chosen(rows, added=rows["added"].min() if added is None else added)
    parts = list(dict.fromkeys(rows["part"]))
    places = [name for name in PLACEMENT_STYLES if name in set(rows["placement"])]
    shifts = np.linspace(-0.27, 0.27, len(places)) if len(places) > 1 else [0.0]
    for shift, name in zip(shifts, places):
        one = matching(rows, placement=name)
        one = one.assign(x=one["part"].map(parts.index) + shift)
        _changes(ax, one, PLACEMENT_STYLES[name], kwargs)
    dotted_line(ax, y=0)
    labels = [LABELS.get(part, part).replace(" (HGAD)", "") for part in parts]
    ax.set_xticks(range(len(parts)), labels)
    ax.set(ylabel="change of image AUROC", xlim=(-0.5, len(parts) - 0.5))
    if legend:
        legend_beside(ax, title="new centers")
    return ax


def _changes(
    ax: Axes,
    rows: pd.DataFrame,
    style: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """The changes under one placement: small points behind their mean."""
    is_mean = rows["category"] == "mean"
    single = rows[~is_mean]
    ax.scatter(
        single["x"],
        single["change"],
        s=26,
        color=style["color"],
        alpha=0.45,
        lw=0,
    )
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
    expanded: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    part: str = "product",
    entropy: str = "all",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC of the first task against the number of added classes.

    There is one line a placement, a mean over categories.

    How to read it: the lines begin at the same model. Nothing is trained along them;
    with several runs the band spans them.

    Args:
        expanded: Of `expansion`.
        ax: Where to draw; new axes by default.
        metric: Its name.
        part: Score part.
        entropy: Over which classes: `all`, `masked` or `log_k`.
        given: `"category"` or `"None"`.
        legend: Whether to name the placements.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = chosen(
        expanded,
        metric=metric,
        part=part,
        entropy=entropy,
        given=given,
    )
    per_run = rows.groupby(["placement", "run", "added"])["value"].mean()
    for name, style in PLACEMENT_STYLES.items():
        if name not in per_run:
            continue
        runs = per_run[name].unstack("run")
        ax.plot(runs.index, runs.mean(axis=1), **{**style, **kwargs})
        if runs.shape[1] > 1:
            ax.fill_between(
                runs.index,
                runs.min(axis=1),
                runs.max(axis=1),
                color=style["color"],
                alpha=0.15,
                lw=0,
            )
    dotted_line(ax, y=0.5)
    ax.set(xlabel="added classes", ylabel=LABELS.get(metric, metric))
    ax.set_xticks(sorted(rows["added"].unique()))
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
