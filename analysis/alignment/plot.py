"""Alignment drawn: growth, approaches, budgets and draws."""

__all__ = [
    "HEADS",
    "NAMES",
    "SAMPLERS",
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

from analysis.style import task_color

# Not the colours of tasks: Tol's muted scheme. Circles are centers alone, squares have
# covariances.
HEADS = {
    "means": {"label": "means", "color": "#882255", "marker": "o"},
    "full": {"label": "means and covariances", "color": "#117733", "marker": "s"},
    "": {"label": "as trained", "color": "black", "marker": "D"},
}
# So that two intervals of a row do not hide each other.
LIFT = {
    "means": -0.13,
    "full": 0.13,
    "": 0.0,
}
LEVELS = {
    ("none", ""): "fine-tuned, as it is",
    ("refit", "means"): "oracle, means",
    ("refit", "full"): "oracle, covariances",
    ("joint", ""): "joint",
}
NAMES = {
    "none": "as it is",
    "mean_shift": "mean shift",
    "online_em": "online EM",
    "figmn": "FIGMN",
    "igmn": "IGMN",
    "igmm": "IGMM",
    "sdc": "SDC",
    "ldc": "LDC",
}
SAMPLERS = {
    "real": "other real patches",
    "gaussian": "feature Gaussian",
    "gaussians_4": "4 feature Gaussians",
    "transport": "latent Gaussian, inverted",
    "nominal": "own mixture, inverted",
}


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
    """Components after some points of a stream, as ellipses.

    In two dimensions, of two standard deviations.

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
    rows = growth[(growth["order"] == order) & (growth["policy"] == policy)]
    n = rows["n_points"].max() if n_points is None else n_points
    rows = rows[rows["n_points"] == n]
    if rows.empty:
        raise ValueError(
            f"Expected rows with order={order!r}, policy={policy!r} and "
            f"n_points={n_points}; got none."
        )
    ax.scatter(*points[n:].T, s=4, color="0.85", lw=0, zorder=0)
    ax.scatter(*points[:n].T, s=4, color="0.45", lw=0, zorder=1)
    for row in rows.itertuples():
        width = 1 + 5 * row.weight
        style = {"fill": False, "ec": task_color(0), "lw": width, "zorder": 2, **kwargs}
        ax.add_patch(
            Ellipse(
                (row.x, row.y), 4 * row.major, 4 * row.minor, angle=row.angle, **style
            )
        )
    margin = 1.5
    ax.set(
        xlim=(points[:, 0].min() - margin, points[:, 0].max() + margin),
        xticks=[],
        yticks=[],
    )
    ax.set(
        ylim=(points[:, 1].min() - margin, points[:, 1].max() + margin), aspect="equal"
    )
    return ax


def plot_alignment(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    most: int | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC on the old tasks of every approach.

    With its interval over test images, the best on top.

    How to read it: the vertical lines are the run as it is, what means and what
    covariances could give back at most, and the joint model. No marker passes the
    dotted oracle by moving a mixture; what does was trained differently.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        most: Only so many approaches, the best.
        legend: Whether to name the heads.
        **kwargs: For `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    fine = table["strategy"] == "finetune"
    pairs = pd.Series(list(zip(table["aligner"], table["head"])), index=table.index)
    drawn = table[~(fine & pairs.isin(list(LEVELS)))].head(most or len(table))
    names = [_name(row) for row in drawn.itertuples()]
    rows = list(dict.fromkeys(names))
    for head, style in HEADS.items():
        chosen = (drawn["head"] == head).to_numpy()
        if chosen.any():
            one = drawn[chosen]
            y = [
                rows.index(name) + LIFT[head]
                for name, keep in zip(names, chosen)
                if keep
            ]
            error = [one["image_auroc"] - one["low"], one["high"] - one["image_auroc"]]
            ax.errorbar(one["image_auroc"], y, xerr=error, ls="", **{**style, **kwargs})
    _levels(ax, table[fine])
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="image AUROC on the old tasks", ylim=(len(rows) - 0.5, -0.5))
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return ax


def _levels(ax: Axes, fine: pd.DataFrame) -> None:
    """Thin vertical lines at the references, named along the top."""
    for row in fine.itertuples():
        name = LEVELS.get((row.aligner, row.head))
        if name is not None:
            ax.axvline(
                row.image_auroc,
                color="0.4",
                lw=1.5,
                ls=":" if row.aligner == "refit" else "--",
                zorder=0,
            )
            ax.annotate(
                name,
                (row.image_auroc, 1.01),
                xycoords=("data", "axes fraction"),
                rotation=35,
                size="small",
                va="bottom",
            )


def _name(row: Any) -> str:
    own = NAMES.get(row.aligner, row.aligner.replace("_", " "))
    if row.strategy == "finetune":
        return own
    trained = row.strategy.replace("_", " ")
    return trained if row.aligner == "none" else f"{trained}, {own}"


def plot_budget(
    table: pd.DataFrame, *, ax: Axes | None = None, legend: bool = True, **kwargs: Any
) -> Axes:
    """Image AUROC on the old tasks against bytes kept.

    The axis is logarithmic but for 0.

    How to read it: up is better, left is cheaper. Exemplars hold as many bytes as
    Gaussians; the oracle holds it all.

    Args:
        table: Of `alignment_table`.
        ax: Where to draw; new axes by default.
        legend: Whether to name the heads.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = table[table["aligner"] != "joint"]
    for head, style in HEADS.items():
        one = rows[rows["head"] == head]
        if len(one):
            ax.plot(
                one["n_bytes"],
                one["image_auroc"],
                ls="",
                alpha=0.8,
                **{**style, **kwargs},
            )
    best = rows.sort_values("image_auroc", ascending=False).drop_duplicates("n_bytes")
    for row in best.itertuples():
        ax.annotate(
            _name(row),
            (row.n_bytes, row.image_auroc),
            xytext=(0, 8),
            textcoords="offset points",
            size="small",
            ha="center",
        )
    least = rows.loc[rows["n_bytes"] > 0, "n_bytes"].min()
    ax.set_xscale("symlog", linthresh=least / 2 if least > 0 else 1.0, linscale=0.5)
    powers = [tick for tick in ax.get_xticks() if tick == 0 or tick >= least]
    ax.set_xticks(powers)
    ax.minorticks_off()
    ax.margins(x=0.12, y=0.12)
    ax.set(xlabel="bytes kept of old classes", ylabel="image AUROC on the old tasks")
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_samplers(told: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Two-sample AUC of each sampler's patches against real ones.

    a point per category, a bar at the mean.

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
        rows = told[told["sampler"] == name]
        for level, one in rows.groupby("level"):
            face = task_color(0) if level == 0 else "none"
            ax.scatter(
                one["value"],
                [y + 0.12 * (level - 0.5)] * len(one),
                **{"s": 60, "fc": face, "ec": task_color(0), "lw": 1.5, **kwargs},
            )
        ax.plot([rows["value"].mean()] * 2, [y - 0.3, y + 0.3], color="black", lw=3)
    ax.axvline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_yticks(range(len(names)), [SAMPLERS.get(name, name) for name in names])
    ax.set(xlabel="two-sample AUC against real patches", ylim=(len(names) - 0.5, -0.5))
    return ax
