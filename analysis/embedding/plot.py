"""Embeddings drawn, step by step, and how far their pictures can be trusted."""

__all__ = ["plot_apparent_drift", "plot_embedding", "plot_embedding_steps"]

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from analysis.rows import alike, matching, step_of
from analysis.style import MARKERS, legend_beside, task_color

ENTRY_INCHES = 2.5  # width of a legend's entry
SPACE_STYLES = {
    "features": {"label": "features (never move)", "facecolor": "white"},
    "latents": {"label": "latents", "facecolor": "black"},
}


@alike
def plot_embedding(
    embedded: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = -1,
    focus: int | None = 0,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Patches and centers after one step.

    Colour is the task, marker the category within it.

    How to read it: anomalous patches are hollow, centers are large with a black edge,
    tasks not learned yet are faint. Look at who is among whom; do not measure
    distances. Panels of one table share their frame.

    Args:
        embedded: A table of `embedding`, of one run, method and space.
        ax: Where to draw; new axes by default.
        step: Which one; the last by default.
        focus: Task to draw large; None draws all alike.
        legend: Whether to explain colours and markers.
        **kwargs: For `Axes.scatter`.

    Raises:
        ValueError: The table holds several pictures of a step.

    Example:
        >>> from analysis.embedding import measure_embedding, plot_embedding
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> ax = plot_embedding(embedded)
    """
    if len(embedded[["run", "method", "space"]].drop_duplicates()) != 1:
        raise ValueError(
            "Expected the embedding of one run, method and space; got several, or none."
        )
    ax = ax or plt.gca()
    step = step_of(embedded, step)
    rows = matching(embedded, step=step)
    markers = _markers(embedded)
    groups = rows.groupby(["task", "category", "label"])
    for (task, category, label), points in sorted(groups, key=_depth(focus)):
        is_large = focus in (None, task)
        look = _look(task, label, points["known"].all(), large=is_large)
        look = {"marker": markers[category], **look, **kwargs}
        ax.scatter(points["x"], points["y"], **look)
    _frame(ax, embedded)
    ax.set_title(f"after task {step + 1}", pad=10)
    if legend:
        legend_beside(ax, handles=_handles(embedded))
    return ax


@alike
def plot_embedding_steps(
    embedded: pd.DataFrame,
    *,
    steps: Sequence[int] | None = None,
    figure: Figure | SubFigure | None = None,
    **kwargs: Any,
) -> Figure | SubFigure:
    """`plot_embedding` after several steps side by side, over one legend.

    Args:
        embedded: A table of `embedding`, of one run, method and space.
        steps: Which ones; the first, the middle and the last by default.
        figure: Where to draw, a figure or a part of one; a new figure by default.
        **kwargs: For `plot_embedding`.

    Example:
        >>> from analysis.embedding import measure_embedding, plot_embedding_steps
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> figure = plot_embedding_steps(embedded)
    """
    n = embedded["step"].max() + 1
    steps = sorted({0, n // 2, n - 1}) if steps is None else steps
    handles = _handles(embedded)
    if figure is None:
        width, most = plt.rcParams["figure.figsize"]
        # Squares above the rows of a legend.
        n_rows = math.ceil(len(handles) / (width / ENTRY_INCHES))
        height = min(most, width / len(steps) + 0.8 + 0.4 * n_rows)
        figure = plt.figure(figsize=(width, height))
    axes = figure.subplots(1, len(steps), squeeze=False)
    for ax, step in zip(axes.flat, steps):
        plot_embedding(
            embedded,
            step=step,
            ax=ax,
            legend=False,
            **kwargs,
        )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=int(figure.bbox.width / figure.dpi / ENTRY_INCHES),
        columnspacing=1,
    )
    return figure


@alike
def plot_apparent_drift(
    drift: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Apparent drift per step of features and latents in each method's pictures.

    How to read it: features do not move, so the hollow points are what a method makes
    up; a filled point is worth looking at only where it lies clearly to the right of
    its hollow one.

    Args:
        drift: A table of `apparent_drift`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.scatter`.

    Example:
        >>> from analysis.embedding import apparent_drift, measure_embedding
        >>> from analysis.embedding import plot_apparent_drift
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> ax = plot_apparent_drift(apparent_drift(embedded))
    """
    ax = ax or plt.gca()
    methods = list(dict.fromkeys(drift["method"]))
    for height, (space, style) in zip((0.12, -0.12), SPACE_STYLES.items()):
        rows = matching(drift, space=space)
        y = rows["method"].map(methods.index).astype(float) + height
        look = {
            "s": 120,
            "edgecolor": "black",
            "linewidth": 2,
            **style,
            **kwargs,
        }
        ax.scatter(rows["drift"], y, **look)
    ax.set_yticks(range(len(methods)), methods)
    ax.set(
        xlabel="movement per step\n(share of spread)",
        ylim=(len(methods) - 0.5, -0.5),
    )
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def _markers(embedded: pd.DataFrame) -> dict[str, str]:
    """Marker of each category, by its place within its task."""
    categories = embedded[["task", "category"]].drop_duplicates()
    places = categories.groupby("task").cumcount()
    return {
        name: MARKERS[place % len(MARKERS)]
        for name, place in zip(categories["category"], places)
    }


def _depth(focus: int | None) -> Callable[[tuple], tuple]:
    """Sorting key of groups: other tasks below the one in focus, centers on top."""

    def depth(item: tuple) -> tuple:
        (task, _, label), _ = item
        return label == "center", task == focus, task

    return depth


def _look(
    task: int,
    label: str,
    known: bool,
    *,
    large: bool,
) -> dict[str, Any]:
    """Style of a group of points: centers, or patches of one label."""
    color = task_color(task)
    if label == "center":
        return {
            "s": 240 if large else 90,
            "facecolor": color,
            "edgecolor": "black",
            "linewidth": 2.5,
            "zorder": 4,
        }
    alpha = 0.8 if large else 0.55
    return {
        "s": 36 if large else 14,
        "facecolor": color if label == "normal" else "white",
        "edgecolor": color,
        "linewidth": 1.5 if large else 0.8,
        "alpha": alpha if known else 0.2,
    }


def _frame(ax: Axes, embedded: pd.DataFrame) -> None:
    """The same square frame for every step.

    The plane has no units, but its shape must not be squeezed.
    """
    points = embedded[["x", "y"]].to_numpy()
    x, y = (points.min(0) + points.max(0)) / 2
    half = 0.53 * np.ptp(points, axis=0).max()
    ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half))
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="0.6")


def _handles(embedded: pd.DataFrame) -> list[Line2D]:
    """Entries of the legend: categories by task, then what filling and edges mean."""
    markers = _markers(embedded)
    arrived = embedded[["task", "category"]].drop_duplicates()
    arrived = arrived.sort_values("task", kind="stable")
    handles = [
        _dot(
            f"{row.task + 1}: {row.category}",
            color=task_color(row.task),
            marker=markers[row.category],
        )
        for row in arrived.itertuples()
    ]
    handles.append(_dot("normal"))
    handles.append(_dot("anomalous", markerfacecolor="white", markeredgewidth=1.5))
    if "center" in set(embedded["label"]):
        edged = _dot("center", ms=14, markeredgecolor="black", markeredgewidth=2.5)
        handles.append(edged)
    return handles


def _dot(label: str, **look: Any) -> Line2D:
    style = {
        "ls": "",
        "marker": "o",
        "ms": 9,
        "color": "0.4",
        **look,
    }
    return Line2D([], [], label=label, **style)
