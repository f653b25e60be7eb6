"""Scores of images drawn: histograms, curves, kinds of defects, routes, categories."""

__all__ = [
    "plot_categories",
    "plot_defects",
    "plot_roc",
    "plot_routes",
    "plot_scores",
    "plot_thresholds",
]

from typing import Any

import lazy_loader
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.rows import alike, chosen, matching, refuse_strategies, step_of
from analysis.style import (
    LABELS,
    SEQUENTIAL,
    dotted_line,
    legend_beside,
    readable_digits,
    task_color,
    text_color,
)

sns: Any = lazy_loader.load("seaborn")

NORMAL = "#0072B2"
ILL = "#D55E00"
BEFORE = "0.55"
AFTER = "#D55E00"
WORDS = {"learnt": "when learned", "last": "under the last model"}


@alike
def plot_scores(
    scores: pd.DataFrame,
    category: str,
    *,
    ax: Axes | None = None,
    step: int = -1,
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """Scores of a category's normal and anomalous test images under one model.

    How to read it: AUROC is the share of pairs in which the anomalous image lies to the
    right. What it does not show is the scale: look at the axis, too, before and after.

    Args:
        scores: A table of `image_scores`, of one strategy.
        category: Its name.
        ax: Where to draw; new axes by default.
        step: Index of the last task learned; the last by default.
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `seaborn.histplot`.

    Example:
        >>> from analysis import image_scores
        >>> from analysis.detection import plot_scores
        >>> ax = plot_scores(image_scores(run), run.tasks[0][0])
    """
    ax = ax or plt.gca()
    rows = chosen(scores, category=category, part=part, given=given)
    refuse_strategies(rows)
    step = step_of(rows, step)
    rows = chosen(rows, step=step)
    named = rows.assign(images=rows["label"].map({0: "normal", 1: "anomalous"}))
    look = {
        "hue_order": ["normal", "anomalous"],
        "palette": [NORMAL, ILL],
        "bins": np.histogram_bin_edges(rows["score"], 20),
        "alpha": 0.6,
        **kwargs,
    }
    sns.histplot(named, x="score", hue="images", ax=ax, **look)
    if ax.get_legend() is not None:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 2}
        sns.move_legend(ax, **below, title="", frameon=False)
    ax.set(
        xlabel=f"score: {LABELS.get(part, part)}",
        ylabel="test images",
        title=f"{category}, after task {step + 1}",
    )
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


@alike
def plot_roc(
    points: pd.DataFrame, *, ax: Axes | None = None, kind: str = "roc", **kwargs: Any
) -> Axes:
    """ROC or precision-recall curve, when learned and under the last model.

    How to read it: the gap between the lines is what was lost, at every threshold. On
    the diagonal of the ROC a score says nothing.

    Args:
        points: Of `roc_points`.
        ax: Where to draw; new axes by default.
        kind: `"roc"`, or `"pr"` for precision over recall.
        **kwargs: For `Axes.plot`.

    Raises:
        ValueError: Another kind.

    Example:
        >>> from analysis import image_scores
        >>> from analysis.detection import plot_roc, roc_points
        >>> ax = plot_roc(roc_points(image_scores(run)))
    """
    if kind not in ("roc", "pr"):
        raise ValueError(f"Expected kind='roc' or 'pr'; got {kind!r}.")
    ax = ax or plt.gca()
    x, y = ("fpr", "recall") if kind == "roc" else ("recall", "precision")
    for when, color in (("learnt", BEFORE), ("last", AFTER)):
        one = matching(points, when=when)
        style: dict[str, Any] = {"color": color, "label": WORDS[when], **kwargs}
        ax.plot(one[x].to_numpy(), one[y].to_numpy(), **style)
    if kind == "roc":
        ax.plot([0, 1], [0, 1], color="0.6", lw=1.5, ls=":", zorder=0)
    labels = {
        "fpr": "normal images called anomalous",
        "recall": "anomalous images found",
        "precision": "right among those called anomalous",
    }
    ax.set(xlabel=labels[x], ylabel=labels[y], xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(loc="lower right" if kind == "roc" else "lower left")
    return ax


@alike
def plot_defects(
    defects: pd.DataFrame,
    *,
    ax: Axes | None = None,
    most: int = 16,
    **kwargs: Any,
) -> Axes:
    """AUROC of each kind of defect, when learned and under the last model.

    How to read it: an arrow to the left is a kind of defect that was lost. Kinds that
    lost most stand above.

    Args:
        defects: Of `defect_aurocs`.
        ax: Where to draw; new axes by default.
        most: Kinds to draw, at most.
        **kwargs: For `Axes.annotate`'s arrows.

    Example:
        >>> from analysis import image_scores
        >>> from analysis.detection import defect_aurocs, plot_defects
        >>> ax = plot_defects(defect_aurocs(image_scores(run)))
    """
    ax = ax or plt.gca()
    rows = defects.assign(lost=defects["learnt"] - defects["last"])
    rows = rows.sort_values("lost", ascending=False).head(most)
    for y, row in enumerate(rows.itertuples()):
        look = {"arrowstyle": "-|>", "lw": 2.5, "color": task_color(row.task), **kwargs}
        look |= {"shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=(row.last, y), xytext=(row.learnt, y), arrowprops=look)
        ax.plot(row.learnt, y, "o", ms=7, color=task_color(row.task))
    names = rows["category"] + ": " + rows["defect"].str.replace("_", " ")
    ax.set_yticks(range(len(rows)), names, size=14)
    for text, task in zip(ax.get_yticklabels(), rows["task"]):
        text.set_color(text_color(task))
    dotted_line(ax, x=0.5)
    ax.set(
        xlim=(-0.02, 1.02),
        ylim=(len(rows) - 0.5, -0.5),
        xlabel="image AUROC, from when learned to the last model",
    )
    return ax


@alike
def plot_routes(share: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Classes that each category's normal images are scored under, when none is told.

    How to read it: on the diagonal an image is scored under its own class. A column
    that is bright all along takes everything: usually that of the newest task.

    Args:
        share: Of `routes`.
        ax: Where to draw; new axes by default.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis import Scoring, image_scores
        >>> from analysis.detection import plot_routes, routes
        >>> ax = plot_routes(routes(image_scores(run, scoring=Scoring(given=None))))
    """
    ax = ax or plt.gca()
    options = {
        "vmin": 0,
        "vmax": 1,
        "cmap": SEQUENTIAL,
        "linewidths": 0.5,
        "cbar_kws": {"label": "share of its normal images"},
        **kwargs,
    }
    sns.heatmap(share, ax=ax, xticklabels=True, yticklabels=True, **options)
    ax.set(xlabel="scored under", ylabel="category")
    ax.tick_params(length=0, labelsize=13)
    ax.tick_params(axis="x", rotation=90)
    return ax


@alike
def plot_categories(
    evaluated: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """Metric of each category after every task, a mean over runs.

    How to read it: go along a row; it begins where the category is learned. What falls
    at once was overwritten by the next task, what fades step by step by all of them.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.
        ax: Where to draw; new axes by default.
        metric: Its name.
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis import evaluate
        >>> from analysis.detection import plot_categories
        >>> ax = plot_categories(evaluate(run))
    """
    ax = ax or plt.gca()
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    refuse_strategies(rows)
    keys = ["task", "category", "step"]
    wide = rows.groupby(keys, sort=False)["value"].mean().unstack("step")
    wide = wide.sort_index(level="task", sort_remaining=False)
    tasks = wide.index.get_level_values("task")
    wide = wide.droplevel("task").rename(columns=lambda step: step + 1)
    options = {
        "vmin": 0.5,
        "vmax": 1.0,
        "cmap": SEQUENTIAL,
        "annot": True,
        "fmt": ".2f",
        "annot_kws": {"size": 13},
        "linewidths": 0.5,
        "cbar_kws": {"label": LABELS.get(metric, metric), "extend": "min"},
        **kwargs,
    }
    sns.heatmap(wide, ax=ax, yticklabels=True, **options)
    readable_digits(ax)
    ax.set(xlabel="after learning task", ylabel="")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelsize=14)
    for text, task in zip(ax.get_yticklabels(), tasks):
        text.set_color(text_color(task))
    return ax


@alike
def plot_thresholds(
    table: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """F1 of each category: best when learned, by that threshold later, best later.

    How to read it: from the hollow to the filled point is what a plant that keeps its
    threshold loses; from there to the bar, what a new threshold would bring back.

    Args:
        table: Of `thresholds`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis import image_scores
        >>> from analysis.detection import plot_thresholds, thresholds
        >>> ax = plot_thresholds(thresholds(image_scores(run)))
    """
    ax = ax or plt.gca()
    y = np.arange(len(table))
    colors = [task_color(task) for task in table["task"]]
    for i, color in enumerate(colors):
        ends = table[["learnt", "kept"]].to_numpy()[i]
        ax.plot(ends, [i, i], **{"color": color, "lw": 2, **kwargs})
    look = {"s": 110, "zorder": 3, "linewidths": 2.5}
    ax.scatter(table["learnt"], y, facecolors="white", edgecolors=colors, **look)
    ax.scatter(table["kept"], y, facecolors=colors, edgecolors=colors, **look)
    ax.scatter(table["last"], y, marker="|", color=colors, s=420, linewidths=3)
    for words, shown in (
        ("when learned", {"marker": "o", "facecolors": "white", "s": 110}),
        ("same threshold,\nlast model", {"marker": "o", "s": 110}),
        ("new threshold,\nlast model", {"marker": "|", "s": 420}),
    ):
        ax.scatter([], [], color="0.3", linewidths=2.5, label=words, **shown)
    legend_beside(ax)
    ax.set_yticks(y, table["category"], size=14)
    for text, task in zip(ax.get_yticklabels(), table["task"]):
        text.set_color(text_color(task))
    ax.set(xlabel="F1 of images", xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5))
    return ax
