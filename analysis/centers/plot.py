"""Centers drawn: distances, drift, and likeness."""

__all__ = ["plot_center_distances", "plot_center_drift", "plot_similarity"]

from typing import Any

import lazy_loader
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, matching, refuse_strategies, step_of
from analysis.style import (
    SEQUENTIAL,
    legend_beside,
    name_categories,
    names_beside,
    readable_digits,
    task_color,
    text_color,
)

sns: Any = lazy_loader.load("seaborn")

# Of pairs whose categories belong to different tasks.
APART_COLOR = "0.75"
COLUMN_LABELS = {
    "feature_distance": "feature distance",
    "center_distance": "center distance",
    "placed": "distance when placed",
    "change": "change since placed",
}


@alike
def plot_center_distances(
    distances: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = -1,
    level: str = "mean",
    **kwargs: Any,
) -> Axes:
    """Distance between every two centers after one step.

    Names have the colour of their task; lines part the tasks.

    How to read it: the dark cells are the classes that lie close. The colours mean the
    same at every step of the table. HGAD places centers 5 apart.

    Args:
        distances: A table of `center_distances`, of runs of one strategy; runs are
            averaged.
        ax: Where to draw; new axes by default.
        step: Which one; the last by default.
        level: Number of a level, or `"mean"`.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis.centers import center_distances, plot_center_distances
        >>> ax = plot_center_distances(center_distances(run), step=1)
    """
    ax = ax or plt.gca()
    rows = _at_level(distances, level)
    apart = rows.loc[rows["category"] != rows["other"], "distance"]
    step = step_of(rows, step)
    rows = matching(rows, step=step)
    tasks = dict(zip(rows["category"], rows["task"]))
    matrix = rows.pivot_table(index="category", columns="other", values="distance")
    options = {
        "vmin": apart.min(),
        "vmax": apart.max(),
        "cmap": SEQUENTIAL,
        "mask": np.eye(len(matrix), dtype=bool),
        "annot": True,
        "fmt": ".1f",
        "square": True,
        "annot_kws": {"size": 12},
        "linewidths": 0.5,
        "cbar_kws": {"label": COLUMN_LABELS["center_distance"], "shrink": 0.7},
        **kwargs,
    }
    sns.heatmap(matrix.loc[list(tasks), list(tasks)], ax=ax, **options)
    readable_digits(ax)
    # A matrix of few classes is narrower than its title.
    ax.set_title(f"after task {step + 1}", loc="right", size=20)
    ax.set(xlabel="", ylabel="")
    name_categories(ax, tasks)
    return ax


@alike
def plot_center_drift(
    drift: pd.DataFrame,
    *,
    ax: Axes | None = None,
    level: str = "mean",
    **kwargs: Any,
) -> Axes:
    """Drift of each center since its task was learned, one line a category.

    A line has its task's colour, and its name at its end.

    How to read it: lines begin at 0 where a task is learned. Compare their height with
    the distances between centers.

    Args:
        drift: A table of `center_drift`, of runs of one strategy; runs are averaged.
        ax: Where to draw; new axes by default.
        level: Number of a level, or `"mean"`.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis.centers import center_drift, plot_center_drift
        >>> ax = plot_center_drift(center_drift(run))
    """
    ax = ax or plt.gca()
    rows = _at_level(drift, level)
    ends = []
    for task, categories in rows.groupby("task"):
        for category, line in categories.groupby("category", sort=False):
            means = line.groupby("step")["distance"].mean()
            options = {"color": task_color(task), "marker": "o", "lw": 2, **kwargs}
            ax.plot(means.index, means, label=category, **options)
            color = text_color(task)
            ends.append((category, means.index[-1], means.iloc[-1], color))
    steps = range(rows["step"].max() + 1)
    ax.set_xticks(steps, [str(step + 1) for step in steps])
    ax.set(
        xlabel="after learning task",
        ylabel="distance from where it was learned\n"
        "/ standard deviations of a component",
        ylim=(0, None),
    )
    names_beside(ax, ends)
    return ax


@alike
def plot_similarity(
    pairs: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    ax: Axes | None = None,
    x: str = "feature_distance",
    y: str = "center_distance",
    step: int = -1,
    level: str = "mean",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Likeness of categories against closeness of their centers, pair by pair.

    How to read it: if looks decided who becomes a neighbour, the cloud would rise from
    left to right. Pairs learned in the same task are in its colour, pairs of different
    tasks grey; the title holds Spearman's rank correlation, and its interval.

    Args:
        pairs: A table of `similarity`, of runs of one strategy; runs are averaged.
        correlations: A table of `similarity_correlations` of these pairs and this
            level.
        ax: Where to draw; new axes by default.
        x: Column of the pairs, together with y among those correlated.
        y: Column of the pairs.
        step: Which one; the last by default.
        level: Number of a level, or `"mean"`.
        legend: Whether to explain the colours.
        **kwargs: For `Axes.scatter`.

    Example:
        >>> from analysis.centers import plot_similarity, similarity
        >>> from analysis.centers import similarity_correlations
        >>> pairs = similarity(run)
        >>> ax = plot_similarity(pairs, similarity_correlations(pairs))
    """
    ax = ax or plt.gca()
    rows = _at_level(pairs, level)
    step = step_of(rows, step)
    keys = ["task", "other_task", "category", "other"]
    means = matching(rows, step=step).groupby(keys)[[x, y]].mean().reset_index()
    is_within = means["task"] == means["other_task"]
    colors = means["task"].map(task_color).where(is_within, APART_COLOR)
    # Pairs of one task lie above the others.
    order = np.argsort(is_within, kind="stable")
    options = {
        "c": colors.iloc[order].to_list(),
        "s": 90,
        "edgecolor": "black",
        "linewidth": 0.5,
        **kwargs,
    }
    ax.scatter(means[x].iloc[order], means[y].iloc[order], **options)
    for task in sorted({*means["task"], *means["other_task"]}):
        ax.plot([], [], "o", color=task_color(task), label=f"both of task {task + 1}")
    ax.plot([], [], "o", color=APART_COLOR, label="different tasks")
    ax.set(xlabel=COLUMN_LABELS[x], ylabel=COLUMN_LABELS[y])
    ax.set_title(_correlation(correlations, step, x, y), size=20)
    if legend:
        legend_beside(ax)
    return ax


def _correlation(
    correlations: pd.DataFrame,
    step: int,
    x: str,
    y: str,
) -> str:
    found = matching(correlations, step=step, x=x, y=y)
    if len(found) != 1:
        raise ValueError(
            f"Expected one correlation of {x} and {y} at step {step}; got {len(found)}."
        )
    rho, low, high = found[["rho", "low", "high"]].iloc[0]
    if np.isnan(rho):
        return "no rank correlation\n(all equal)"
    text = f"rank correlation {rho:.2f}"
    if not np.isnan(low):
        told = "holds 0" if low <= 0 <= high else "without 0"
        text += f"\n[{low:.2f}, {high:.2f}], {told}"
    return text.replace("-", "−")


def _at_level(table: pd.DataFrame, level: str) -> pd.DataFrame:
    refuse_strategies(table)
    return chosen(table, level=level)
