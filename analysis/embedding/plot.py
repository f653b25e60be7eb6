"""Embeddings drawn, step by step.

And how far a picture of them can be trusted.
"""

__all__ = ["plot_apparent_drift", "plot_embedding", "plot_embedding_steps"]

from collections.abc import Sequence
from typing import Any

import matplotlib.patheffects
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.style import MARKERS, task_color

SPACES = {"features": "features (never move)", "latents": "latents"}
HALO = [matplotlib.patheffects.withStroke(linewidth=4, foreground="white")]


def plot_embedding(
    embedded: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = -1,
    focus: int | None = 0,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """The patches and centers after one step.

    Colour is the task, marker the category within it.

    How to read it: anomalous patches are hollow, centers are stars, tasks not learnt
    yet are faint. Look at who is among whom; do not measure distances. Panels of one
    table share their frame.

    Args:
        embedded: A table of `embedding`, of one run, method and space.
        ax: Where to draw; new axes by default.
        step: Which one; the last by default.
        focus: Task to draw large, its centers named; None draws all alike.
        legend: Whether to explain colours and markers.
        **kwargs: For `Axes.scatter`.

    Raises:
        ValueError: The table holds several pictures of a step.
    """
    if len(embedded[["run", "method", "space"]].drop_duplicates()) != 1:
        raise ValueError(
            "Expected the embedding of one run, method and space; got several, or none."
        )
    ax = ax or plt.gca()
    step = range(embedded["step"].max() + 1)[step]
    rows = embedded[embedded["step"] == step]
    marker = _markers(embedded)
    for (task, category, label), points in sorted(
        rows.groupby(["task", "category", "label"]), key=_depth(focus)
    ):
        options = _look(task, label, points["known"].all(), large=focus in (None, task))
        ax.scatter(
            points["x"],
            points["y"],
            **{"marker": marker[category], **options, **kwargs},
        )
    _frame(ax, embedded)
    _name_centers(ax, rows[(rows["task"] == focus) & (rows["label"] == "center")])
    ax.set(title=f"after task {step + 1}")
    if legend:
        ax.legend(
            handles=_handles(embedded), loc="center left", bbox_to_anchor=(1.02, 0.5)
        )
    return ax


def plot_embedding_steps(
    embedded: pd.DataFrame,
    *,
    steps: Sequence[int] | None = None,
    figure: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """`plot_embedding` after several steps side by side, over one legend.

    Args:
        embedded: A table of `embedding`, of one run, method and space.
        steps: Which ones; the first, the middle and the last by default.
        figure: Where to draw; a new figure by default.
        **kwargs: For `plot_embedding`.
    """
    n = embedded["step"].max() + 1
    steps = sorted({0, n // 2, n - 1}) if steps is None else steps
    width, _ = plt.rcParams["figure.figsize"]
    # Squares above two rows of legend.
    figure = figure or plt.figure(figsize=(width, width / len(steps) + 1.6))
    for ax, step in zip(figure.subplots(1, len(steps), squeeze=False).flat, steps):
        plot_embedding(embedded, step=step, ax=ax, legend=False, **kwargs)
    handles = _handles(embedded)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=-(-len(handles) // 2),
        columnspacing=1,
    )
    return figure


def plot_apparent_drift(
    drift: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Apparent drift per step in each method's pictures.

    Of features and of latents.

    How to read it: features do not move, so the hollow points are what a method makes
    up; a filled point is worth looking at only where it lies clearly to the right of
    its hollow one.

    Args:
        drift: A table of `apparent_drift`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.scatter`.
    """
    ax = ax or plt.gca()
    methods = list(dict.fromkeys(drift["method"]))
    for space, height, face in (
        ("features", 0.12, "white"),
        ("latents", -0.12, "black"),
    ):
        rows = drift[drift["space"] == space]
        y = rows["method"].map(methods.index).astype(float) + height
        options = {
            "s": 120,
            "facecolor": face,
            "edgecolor": "black",
            "linewidth": 2,
            "label": SPACES[space],
        }
        ax.scatter(rows["drift"], y, **{**options, **kwargs})
    ax.set_yticks(range(len(methods)), methods)
    ax.set(
        xlabel="movement per step,\nas a share of the spread",
        ylim=(len(methods) - 0.5, -0.5),
    )
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def _markers(embedded: pd.DataFrame) -> dict[str, str]:
    """The marker of each category: its place within its task."""
    categories = embedded[["task", "category"]].drop_duplicates()
    places = categories.groupby("task").cumcount()
    return {
        name: MARKERS[place % (len(MARKERS) - 1)]
        for name, place in zip(categories["category"], places)
    }


def _depth(focus: int | None) -> Any:
    """Sorting key of what is drawn first.

    Other tasks below the one in focus, patches below centers.
    """
    return lambda item: (item[0][2] == "center", item[0][0] == focus, item[0][0])


def _look(task: int, label: str, known: bool, *, large: bool) -> dict[str, Any]:
    color = task_color(task)
    if label == "center":
        size = 320 if large else 110
        return {
            "marker": "*",
            "s": size,
            "facecolor": color,
            "edgecolor": "black",
            "linewidth": 1.5,
            "zorder": 4,
        }
    alpha = (0.8 if large else 0.55) if known else 0.2
    face = color if label == "normal" else "white"
    size = 36 if large else 14
    return {
        "s": size,
        "facecolor": face,
        "edgecolor": color,
        "linewidth": 1.5 if large else 0.8,
        "alpha": alpha,
    }


def _name_centers(ax: Axes, centers: pd.DataFrame) -> None:
    """Names in the frame's corner with a line to each center.

    The centers themselves often lie too close for text.

    From top to bottom by the angle seen from the corner, so that no line crosses
    another.
    """
    left = ax.get_xlim()[0]
    top = ax.get_ylim()[1]
    angle = np.arctan2(centers["y"] - top, centers["x"] - left)
    for place, center in enumerate(centers.iloc[np.argsort(-angle)].itertuples()):
        ax.annotate(
            center.category,
            (center.x, center.y),
            (0.03, 0.97 - 0.075 * place),
            textcoords="axes fraction",
            va="top",
            size="x-small",
            path_effects=HALO,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.3",
                "lw": 1.2,
                "relpos": (1, 0.5),
            },
            zorder=5,
        )


def _frame(ax: Axes, embedded: pd.DataFrame) -> None:
    """The same square frame for every step.

    The plane has no units, but its shape must not be squeezed.
    """
    center = np.array(
        [embedded[axis].agg(["min", "max"]).mean() for axis in ("x", "y")]
    )
    half = 0.55 * max(np.ptp(embedded["x"]), np.ptp(embedded["y"]))
    ax.set(
        xlim=center[0] + [-half, half],
        ylim=center[1] + [-half, half],
        aspect="equal",
        xticks=[],
        yticks=[],
    )
    ax.spines[:].set(visible=True, color="0.6")


def _handles(embedded: pd.DataFrame) -> list[Line2D]:
    def dot(label: str, **look: Any) -> Line2D:
        return Line2D(
            [],
            [],
            **{
                "ls": "",
                "marker": "o",
                "ms": 9,
                "color": "0.4",
                "label": label,
                **look,
            },
        )

    tasks = [
        dot(f"task {task + 1}", color=task_color(task))
        for task in sorted(embedded["task"].unique())
    ]
    kinds = [
        dot("normal"),
        dot("anomalous", markerfacecolor="white", markeredgewidth=1.5),
    ]
    star = (
        dot("center", marker="*", ms=18, markeredgecolor="black")
        if "center" in set(embedded["label"])
        else None
    )
    return [*tasks, *kinds, *filter(None, [star])]
