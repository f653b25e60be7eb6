"""Centers drawn: distances, drift, and likeness."""

__all__ = ["plot_center_distances", "plot_center_drift", "plot_similarity"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.style import MARKERS, SEQUENTIAL, task_color

APART = "0.75"  # the colour of pairs whose categories belong to different tasks
AXES = {
    "feature_distance": "feature distance",
    "center_distance": "center distance",
    "placed": "distance when placed",
    "change": "change since placed",
}


def plot_center_distances(
    distances: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = -1,
    level: str = "mean",
    **kwargs: Any,
) -> Axes:
    """The distance between every two centers after one step.

    Names in the colour of their task, lines between tasks.

    How to read it: the dark cells are the classes that lie close. The colours mean the
    same at every step of the table. HGAD places centers 5 apart.

    Args:
        distances: A table of `center_distances`, of runs of one strategy; runs are
            averaged.
        ax: Where to draw; new axes by default.
        step: Which one; the last by default.
        level: Number of a level, or `"mean"`.
        **kwargs: For `seaborn.heatmap`.
    """
    ax = ax or plt.gca()
    rows = _at_level(distances, level)
    apart = rows.loc[rows["category"] != rows["other"], "distance"]
    step = range(rows["step"].max() + 1)[step]
    rows = rows[rows["step"] == step]
    task = dict(zip(rows["category"], rows["task"]))
    matrix = rows.pivot_table(index="category", columns="other", values="distance").loc[
        list(task), list(task)
    ]
    options = {
        "vmin": apart.min(),
        "vmax": apart.max(),
        "cmap": SEQUENTIAL,
        "annot": True,
        "fmt": ".1f",
        "square": True,
    }
    options |= {
        "annot_kws": {"size": 11},
        "linewidths": 0.5,
        "cbar_kws": {"label": AXES["center_distance"], "shrink": 0.7},
    }
    sns.heatmap(
        matrix, mask=np.eye(len(matrix), dtype=bool), ax=ax, **{**options, **kwargs}
    )
    for edge in np.flatnonzero(np.diff(list(task.values()))) + 1:
        ax.axhline(edge, color="black", lw=2)
        ax.axvline(edge, color="black", lw=2)
    ax.set(xlabel="", ylabel="")
    # A matrix of few classes is narrower than its title.
    ax.set_title(f"after task {step + 1}", loc="right", size=20)
    ax.set_xticks(np.arange(len(task)) + 0.5, list(task), rotation=90, size=13)
    ax.set_yticks(np.arange(len(task)) + 0.5, list(task), rotation=0, size=13)
    ax.tick_params(length=0)
    for label in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
        label.set_color(task_color(task[label.get_text()]))
    return ax


def plot_center_drift(
    drift: pd.DataFrame, *, ax: Axes | None = None, level: str = "mean", **kwargs: Any
) -> Axes:
    """Drift of each center since its task was learnt.

    One line a category, in its task's colour.

    How to read it: lines begin at 0 where a task is learnt. Compare their height with
    the distances between centers.

    Args:
        drift: A table of `center_drift`, of runs of one strategy; runs are averaged.
        ax: Where to draw; new axes by default.
        level: Number of a level, or `"mean"`.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = _at_level(drift, level)
    for task, categories in rows.groupby("task"):
        for place, (category, line) in enumerate(
            categories.groupby("category", sort=False)
        ):
            means = line.groupby("step")["distance"].mean()
            options = {
                "color": task_color(task),
                "marker": MARKERS[place % len(MARKERS)],
                "label": category,
                "lw": 2,
            }
            ax.plot(means.index, means, **{**options, **kwargs})
    steps = range(rows["step"].max() + 1)
    ax.set_xticks(steps, [str(step + 1) for step in steps])
    ax.set(
        xlabel="after learning task",
        ylabel="distance from where it was learnt",
        ylim=(0, None),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=14)
    return ax


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
    """Pairs of categories after one step.

    How alike they look, against how close their centers lie.

    How to read it: if looks decided who becomes a neighbour, the cloud would rise from
    left to right. Pairs learnt in the same task are in its colour, pairs of different
    tasks grey; the title holds Spearman's correlation and its interval.

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
    """
    ax = ax or plt.gca()
    rows = _at_level(pairs, level)
    step = range(rows["step"].max() + 1)[step]
    rows = (
        rows[rows["step"] == step]
        .groupby(["task", "other_task", "category", "other"])[[x, y]]
        .mean()
        .reset_index()
    )
    colors = [
        task_color(a) if a == b else APART
        for a, b in zip(rows["task"], rows["other_task"])
    ]
    order = np.argsort(rows["task"] == rows["other_task"], kind="stable")
    options = {
        "c": np.array(colors, dtype=object)[order],
        "s": 90,
        "edgecolor": "black",
        "linewidth": 0.5,
    }
    ax.scatter(rows[x].iloc[order], rows[y].iloc[order], **{**options, **kwargs})
    ax.set(xlabel=AXES[x], ylabel=AXES[y], title=_rho(correlations, step, x, y))
    if legend:
        tasks = {
            f"task {task + 1}": task_color(task)
            for task in sorted({*rows["task"], *rows["other_task"]})
        }
        handles = [
            _dot(label, color)
            for label, color in {**tasks, "different\ntasks": APART}.items()
        ]
        ax.legend(
            handles=handles,
            title="both of",
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
        )
    return ax


def _dot(label: str, color: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", color=color, label=label)


def _rho(correlations: pd.DataFrame, step: int, x: str, y: str) -> str:
    found = correlations[
        (correlations["step"] == step)
        & (correlations["x"] == x)
        & (correlations["y"] == y)
    ]
    if len(found) != 1:
        raise ValueError(
            f"Expected one correlation of {x} and {y} at step {step}; got {len(found)}."
        )
    rho, low, high = found[["rho", "low", "high"]].iloc[0]
    if np.isnan(rho):
        return "ρ undefined\n(all equal)"
    text = (
        f"ρ = {rho:.2f}" if np.isnan(low) else f"ρ = {rho:.2f}\n[{low:.2f}, {high:.2f}]"
    )
    return text.replace("-", "−")


def _at_level(table: pd.DataFrame, level: str) -> pd.DataFrame:
    if table["strategy"].nunique() > 1:
        raise ValueError(
            "Expected runs of one strategy; got "
            f"{', '.join(sorted(table['strategy'].unique()))}."
        )
    rows = table[table["level"] == level]
    if rows.empty:
        raise KeyError(
            f"Unknown level {level!r}; known: {', '.join(table['level'].unique())}."
        )
    return rows
