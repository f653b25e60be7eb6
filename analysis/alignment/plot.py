"""Alignment drawn: growth, approaches, budgets and draws."""

__all__ = [
    "ALIGNER_LABELS",
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
from analysis.style import dotted_line, error_bars, legend_beside, task_color

# Not the colours of tasks: Tol's muted scheme. Circles are centers alone, squares have
# covariances.
HEAD_STYLES = {
    "means": {"label": "means", "color": "#882255", "marker": "o"},
    "full": {"label": "means and covariances", "color": "#117733", "marker": "s"},
    "": {"label": "as trained", "color": "black", "marker": "D"},
}
# So that two intervals of a row do not hide each other.
HEAD_HEIGHTS = {"means": -0.13, "full": 0.13, "": 0.0}
REFERENCE_LABELS = {
    ("none", ""): "fine-tuned, as it is",
    ("refit", "means"): "refit, means",
    ("refit", "full"): "refit, covariances",
    ("joint", ""): "joint",
}
ALIGNER_LABELS = {
    "none": "as it is",
    "mean_shift": "mean shift",
    "online_em": "online EM",
    "figmn": "FIGMN",
    "igmn": "IGMN",
    "igmm": "IGMM",
    "sdc": "SDC",
    "ldc": "LDC",
}
SAMPLER_LABELS = {
    "real": "other real patches",
    "gaussian": "feature Gaussian",
    "gaussians_4": "4 feature Gaussians",
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
    **kwargs: Any,
) -> Axes:
    """Components after some points of a stream in the plane, as ellipses.

    An ellipse lies at two standard deviations.

    How to read it: dark points have been seen, light ones are yet to come; a bolder
    ellipse weighs more.

    Args:
        growth: Of `analysis.growth`.
        points: The stream (N, 2).
        ax: Where to draw; new axes by default.
        order: Name of the stream.
        policy: Name of the policy.
        n_points: After how many points; the last by default.
        **kwargs: For `Ellipse`.
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
    ax.scatter(
        *points[n:].T,
        s=4,
        color="0.85",
        lw=0,
        zorder=0,
    )
    ax.scatter(
        *points[:n].T,
        s=4,
        color="0.45",
        lw=0,
        zorder=1,
    )
    for row in rows.itertuples():
        ax.add_patch(_ellipse(row, kwargs))
    margin = 1.5
    left, bottom = points.min(0) - margin
    right, top = points.max(0) + margin
    ax.set(xlim=(left, right), xticks=[], yticks=[])
    ax.set(ylim=(bottom, top), aspect="equal")
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

    How to read it: the vertical lines are the run as it is, what means and what
    covariances could give back at most, and the joint model. No marker passes the
    dotted refit by moving a mixture; what does was trained differently.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        most: Only so many approaches, the best.
        legend: Whether to name the heads.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    is_reference = [_is_reference(row) for row in table.itertuples()]
    drawn = table[~np.array(is_reference)].head(most or len(table))
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
        _reference(ax, row)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="image AUROC on the old tasks", ylim=(len(names) - 0.5, -0.5))
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return ax


def _is_reference(row: Any) -> bool:
    return row.strategy == "finetune" and (row.aligner, row.head) in REFERENCE_LABELS


def _reference(ax: Axes, row: Any) -> None:
    """A thin vertical line, named along the top."""
    ax.axvline(
        row.image_auroc,
        color="0.4",
        lw=1.5,
        ls=":" if row.aligner == "refit" else "--",
        zorder=0,
    )
    ax.annotate(
        REFERENCE_LABELS[row.aligner, row.head],
        (row.image_auroc, 1.01),
        xycoords=("data", "axes fraction"),
        rotation=35,
        size="small",
        va="bottom",
    )


def _name(row: Any) -> str:
    own = ALIGNER_LABELS.get(row.aligner, row.aligner.replace("_", " "))
    if row.strategy == "finetune":
        return own
    trained = row.strategy.replace("_", " ")
    return trained if row.aligner == "none" else f"{trained}, {own}"


@alike
def plot_budget(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC on the old tasks against bytes kept, logarithmic but for 0.

    How to read it: up is better, left is cheaper. Exemplars hold as many bytes as
    Gaussians; the refit holds it all.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        legend: Whether to name the heads.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = table[table["aligner"] != "joint"]
    for head, style in HEAD_STYLES.items():
        one = matching(rows, head=head)
        if len(one):
            look = {"ls": "", "alpha": 0.8, **style, **kwargs}
            ax.plot(one["n_bytes"], one["image_auroc"], **look)
    _name_best(ax, rows)
    _byte_axis(ax, rows["n_bytes"])
    ax.margins(x=0.12, y=0.12)
    ax.set(xlabel="bytes kept of old classes", ylabel="image AUROC on the old tasks")
    if legend:
        legend_beside(ax)
    return ax


def _name_best(ax: Axes, rows: pd.DataFrame) -> None:
    """The name of the best of each size, above its point."""
    in_order = rows.sort_values("image_auroc", ascending=False)
    for row in in_order.drop_duplicates("n_bytes").itertuples():
        ax.annotate(
            _name(row),
            (row.n_bytes, row.image_auroc),
            xytext=(0, 8),
            textcoords="offset points",
            size="small",
            ha="center",
        )


def _byte_axis(ax: Axes, n_bytes: pd.Series) -> None:
    """A logarithmic axis of bytes, linear between 0 and the fewest."""
    least = n_bytes[n_bytes > 0].min()
    threshold = least / 2 if least > 0 else 1.0
    ax.set_xscale("symlog", linthresh=threshold, linscale=0.5)
    ticks = [tick for tick in ax.get_xticks() if tick == 0 or tick >= least]
    ax.set_xticks(ticks)
    ax.minorticks_off()


@alike
def plot_samplers(told: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Two-sample AUC of each sampler's patches against real ones.

    A point per category, a bar at the mean.

    How to read it: at .5 no classifier of this kind tells the draws from patches; the
    farther right, the more the stand-ins differ from what they stand for. Filled points
    are the first level, hollow ones the deeper levels.

    Args:
        told: Of `sampler_auc`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.scatter`.
    """
    ax = ax or plt.gca()
    names = list(dict.fromkeys(told["sampler"]))
    for y, name in enumerate(names):
        rows = matching(told, sampler=name)
        for level, one in rows.groupby("level"):
            look = {
                "s": 60,
                "fc": task_color(0) if level == 0 else "none",
                "ec": task_color(0),
                "lw": 1.5,
                **kwargs,
            }
            height = y + 0.12 * (level - 0.5)
            ax.scatter(one["value"], [height] * len(one), **look)
        mean = rows["value"].mean()
        ax.plot([mean, mean], [y - 0.3, y + 0.3], color="black", lw=3)
    dotted_line(ax, x=0.5)
    labels = [SAMPLER_LABELS.get(name, name) for name in names]
    ax.set_yticks(range(len(names)), labels)
    ax.set(xlabel="two-sample AUC against real patches", ylim=(len(names) - 0.5, -0.5))
    return ax
