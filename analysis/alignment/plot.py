"""Alignment drawn: growth, approaches, budgets and draws."""

__all__ = [
    "HEAD_STYLES",
    "SAMPLER_LABELS",
    "plot_alignment",
    "plot_budget",
    "plot_growth",
    "plot_samplers",
]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import ArrayLike

from analysis.rows import alike, matching
from analysis.style import (
    MARKERS,
    byte_axis,
    dotted_line,
    error_bars,
    label_of,
    legend_beside,
    task_color,
)

# Not the colours of tasks: Tol's muted scheme. Circles are centers alone, squares have
# covariances.
HEAD_STYLES = {
    "means": {"label": "means", "color": "#882255", "marker": "o"},
    "full": {"label": "means and covariances", "color": "#117733", "marker": "s"},
    "": {"label": "as trained", "color": "black", "marker": "D"},
}
# So that two intervals of a row do not hide each other.
HEAD_HEIGHTS = {"means": -0.13, "full": 0.13, "": 0.0}
# Upright lines; a refit has the colour of its head.
REFERENCE_STYLES = {
    ("none", ""): {"label": "fine-tuned, as it is", "color": "black", "ls": "--"},
    ("refit", "means"): {"label": "refit, means", "color": "#882255", "ls": ":"},
    ("refit", "full"): {"label": "refit, covariances", "color": "#117733", "ls": ":"},
    ("joint", ""): {"label": "joint training", "color": "black", "ls": "-"},
}
BESIDE = 10**0.06  # between approaches that keep equal bytes
SAMPLER_LABELS = {
    "real": "other real patches",
    "gaussian": "feature Gaussian",
    "gaussians_4": "4 feature Gaussians",
    "positional": "8 Gaussians, by place",
    "transport": "latent Gaussian, inverted",
    "nominal": "own mixture, inverted",
}


@alike
def plot_growth(
    growth: pd.DataFrame,
    points: ArrayLike,
    *,
    ax: Axes | None = None,
    order: str,
    policy: str,
    n_points: int | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Components after some points of a stream in the plane, as ellipses.

    An ellipse lies at two standard deviations.

    How to read it: black points have been seen, grey ones are yet to come; a bolder
    ellipse weighs more.

    Args:
        growth: Of `analysis.growth`.
        points: The stream (N, 2).
        ax: Where to draw; new axes by default.
        order: Name of the stream.
        policy: Name of the policy.
        n_points: After how many points; the last by default.
        legend: Whether to say what points and ellipses are.
        **kwargs: For `Ellipse`.

    Example:
        >>> from analysis.alignment import growth, moving_clusters, plot_growth
        >>> points = moving_clusters(90)
        >>> three = {"online_em": {"n_components": 3}}
        >>> grown = growth({"sorted": points}, three, after=(90,))
        >>> ax = plot_growth(grown, points, order="sorted", policy="online_em")
    """
    ax = ax or plt.gca()
    points = np.asarray(points)
    rows = matching(growth, order=order, policy=policy)
    n = rows["n_points"].max() if n_points is None else n_points
    rows = matching(rows, n_points=n)
    if rows.empty:
        raise ValueError(
            f"Expected rows with order={order!r}, policy={policy!r} and "
            f"n_points={n_points}; got none."
        )
    dots: dict[str, Any] = {"s": 4, "lw": 0}
    ax.scatter(*points[:n].T, color="black", zorder=1, label="seen", **dots)
    ax.scatter(*points[n:].T, color="0.58", zorder=0, label="yet to come", **dots)
    named = "component, at two\nstandard deviations\n(bolder: weighs more)"
    ax.plot([], [], color=task_color(0), label=named)
    for row in rows.itertuples():
        ax.add_patch(_ellipse(row, kwargs))
    margin = 1.5
    left, bottom = points.min(0) - margin
    right, top = points.max(0) + margin
    ax.set(xlim=(left, right), xticks=[], yticks=[])
    ax.set(ylim=(bottom, top), aspect="equal")
    if legend:
        legend_beside(ax, markerscale=4)
    return ax


def _ellipse(component: Any, options: dict[str, Any]) -> Ellipse:
    style = {
        "fill": False,
        "ec": task_color(0),
        "lw": 1 + 5 * component.weight,
        "zorder": 2,
        **options,
    }
    return Ellipse(
        (component.x, component.y),
        width=4 * component.major,
        height=4 * component.minor,
        angle=component.angle,
        **style,
    )


@alike
def plot_alignment(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    most: int | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC on the old tasks of every approach, the best on top.

    Bars are intervals over test images.

    How to read it: the vertical lines are the run as it is, what a refit of means and
    one of covariances to all images give back, and joint training. No marker of the
    fine-tuned run passes a refit by moving its mixture; what does was trained
    differently.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        most: Only so many approaches to the fine-tuned run, the best; those that were
            trained differently are drawn all.
        legend: Whether to name the heads.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.alignment import alignment_table, measure_alignment
        >>> from analysis.alignment import plot_alignment
        >>> table = alignment_table(measure_alignment(run, aligner=("sdc", "refit")))
        >>> ax = plot_alignment(table)
    """
    ax = ax or plt.gca()
    is_reference = [_is_reference(row) for row in table.itertuples()]
    drawn = table[~np.array(is_reference)]
    rank = (drawn["strategy"] == "finetune").cumsum()
    drawn = drawn[(drawn["strategy"] != "finetune") | (rank <= (most or len(table)))]
    drawn = drawn.assign(name=[_name(row) for row in drawn.itertuples()])
    names = list(dict.fromkeys(drawn["name"]))
    for head, style in HEAD_STYLES.items():
        rows = matching(drawn, head=head)
        if len(rows):
            ax.errorbar(
                rows["image_auroc"],
                rows["name"].map(names.index) + HEAD_HEIGHTS[head],
                xerr=error_bars(rows, "image_auroc"),
                ls="",
                **{**style, **kwargs},
            )
    for row in table[is_reference].itertuples():
        style = REFERENCE_STYLES[row.aligner, row.head]
        ax.axvline(row.image_auroc, lw=2, zorder=0, **style)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="image AUROC on the old tasks", ylim=(len(names) - 0.5, -0.5))
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return ax


def _is_reference(row: Any) -> bool:
    return row.strategy == "finetune" and (row.aligner, row.head) in REFERENCE_STYLES


def _name(row: Any) -> str:
    own = label_of(row.aligner, column="aligner")
    if row.strategy == "finetune":
        return own
    trained = label_of(row.strategy)
    return trained if row.aligner == "none" else f"{trained}, {own}"


@alike
def plot_budget(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC on the old tasks against bytes kept, with intervals.

    How to read it: up is better, left is cheaper. What keeps equal bytes stands side by
    side, the best at the right with its name. Exemplars hold as many bytes as
    Gaussians; the refit holds all images.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        legend: Whether to name the heads.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.alignment import alignment_table, measure_alignment
        >>> from analysis.alignment import plot_budget
        >>> table = alignment_table(measure_alignment(run, aligner=("sdc", "refit")))
        >>> ax = plot_budget(table)
    """
    ax = ax or plt.gca()
    rows = table[table["aligner"] != "joint"].sort_values("image_auroc")
    edge = byte_axis(ax, rows["n_bytes"])
    same = rows.groupby("n_bytes")["image_auroc"]
    places = same.cumcount() - (same.transform("size") - 1) / 2
    rows = rows.assign(x=rows["n_bytes"].clip(lower=edge) * BESIDE**places)
    for head, style in HEAD_STYLES.items():
        one = matching(rows, head=head)
        if len(one):
            look = {"ls": "", "lw": 1.5, "ms": 9, **style, **kwargs}
            bars = error_bars(one, "image_auroc")
            ax.errorbar(one["x"], one["image_auroc"], yerr=bars, **look)
    for row in rows.drop_duplicates("n_bytes", keep="last").itertuples():
        above: dict[str, Any] = {"xytext": (0, 4), "textcoords": "offset points"}
        above["bbox"] = {"fc": "white", "ec": "none", "pad": 1}
        ax.annotate(_name(row), (row.x, row.high), ha="center", size="small", **above)
    ax.set_xlim(rows["x"].min() / 2, 2.5 * rows["x"].max())
    ax.margins(y=0.1)
    ax.set(
        xlabel="bytes kept of old classes (equal ones side by side)",
        ylabel="image AUROC on the old tasks",
    )
    if legend:
        legend_beside(ax)
    return ax


@alike
def plot_samplers(
    told: pd.DataFrame,
    *,
    ax: Axes | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Two-sample AUC of each sampler's patches against real ones.

    A point per category, a bar at the mean.

    How to read it: at .5 no classifier of this kind tells the draws from patches; the
    farther right, the more the stand-ins differ from what they stand for.

    Args:
        told: Of `sampler_auc`.
        ax: Where to draw; new axes by default.
        legend: Whether to name the levels.
        **kwargs: For `Axes.scatter`.

    Example:
        >>> from analysis.alignment import plot_samplers, sampler_auc
        >>> ax = plot_samplers(sampler_auc(run, sampler=("real", "gaussian")))
    """
    ax = ax or plt.gca()
    names = list(dict.fromkeys(told["sampler"]))
    for level, one in told.groupby("level"):
        look = {
            "s": 60,
            "marker": MARKERS[level % len(MARKERS)],
            "fc": task_color(0) if level == 0 else "none",
            "ec": task_color(0),
            "lw": 1.5,
            "label": f"a category at level {level + 1}",
            **kwargs,
        }
        rows = one["sampler"].map(names.index) + 0.12 * (level - 0.5)
        ax.scatter(one["value"], rows, **look)
    means = told.groupby("sampler")["value"].mean()[names]
    rows = np.arange(len(names))
    ax.vlines(means, rows - 0.3, rows + 0.3, color="black", lw=3, label="mean")
    dotted_line(ax, x=0.5)
    ax.set_yticks(rows, [SAMPLER_LABELS.get(name, name) for name in names])
    ax.set(xlabel="two-sample AUC against real patches", ylim=(len(names) - 0.5, -0.5))
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return ax
