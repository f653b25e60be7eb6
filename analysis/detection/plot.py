"""Detection drawn: R matrix, curves, changes, strategies side by side, losses."""

__all__ = [
    "plot_forgetting",
    "plot_losses",
    "plot_matrix",
    "plot_strategies",
    "plot_task_curves",
]

import textwrap
from itertools import cycle
from typing import Any

import lazy_loader
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, chosen, first_and_last, matching, of_tables
from analysis.style import (
    LABELS,
    MARKERS,
    SEQUENTIAL,
    dotted_line,
    label_of,
    legend_beside,
    names_beside,
    readable_digits,
    task_color,
    text_color,
)

sns: Any = lazy_loader.load("seaborn")

AVERAGE = "0.35"
LINES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # of losses, in their order
LONGEST = 36  # letters of a line beside an axis


@of_tables
def plot_matrix(
    R: np.ndarray,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    **kwargs: Any,
) -> Axes:
    """Heatmap of R[t, j], the metric on task j after learning task t.

    How to read it: go down a column. The diagonal is a task just learned; what fades
    below it was lost since. Cells left white are tasks without a center yet; those
    above the diagonal are of a stream without boundaries.

    Args:
        R: (T, T), NaN where there is no measurement.
        ax: Where to draw; new axes by default.
        metric: Its name, for the colour bar.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis import evaluate, plot_matrix, r_matrix
        >>> ax = plot_matrix(r_matrix(evaluate(run)))
    """
    if R.ndim != 2 or R.shape[0] != R.shape[1]:
        raise ValueError(
            f"Expected R of shape (T, T), as r_matrix gives it; got {R.shape}."
        )
    ax = ax or plt.gca()
    bar = {
        "label": LABELS.get(metric, metric),
        "extend": "min" if np.nanmin(R) < 0.5 else "neither",
    }
    options = {
        "vmin": 0.5,
        "vmax": 1.0,
        "cmap": SEQUENTIAL,
        "mask": np.isnan(R),
        "annot": True,
        "fmt": ".2f",
        "linewidths": 1,
        "square": True,
        "cbar_kws": bar,
        **kwargs,
    }
    steps, tasks = map(_tasks, R.shape)
    sns.heatmap(pd.DataFrame(R, steps, tasks), ax=ax, **options)
    readable_digits(ax)
    ax.set(xlabel="tested on task", ylabel="after learning task")
    ax.tick_params(length=0, rotation=0)
    return ax


@alike
def plot_task_curves(
    evaluated: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
    reference: pd.DataFrame | None = None,
    **kwargs: Any,
) -> Axes:
    """Metric of each task after every step, one line a task.

    The band spans the seeds where there are several.

    How to read it: each line begins where its task is learned, or where a category of
    it first comes, on a stream without boundaries. A line that falls is forgetting; the
    short bar at the right end is what joint training reaches on that task.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.
        ax: Where to draw; new axes by default.
        metric: Its name.
        part: Score part.
        given: `"category"` or `"None"`.
        reference: A table of `evaluate` of joint runs.
        **kwargs: For `seaborn.lineplot`.

    Example:
        >>> from analysis import evaluate, plot_task_curves
        >>> ax = plot_task_curves(evaluate(run), reference=evaluate(runs[1:]))
    """
    ax = ax or plt.gca()
    rows = _task_means(evaluated, metric, part, given)
    tasks = sorted(rows["task"].unique())
    sns.lineplot(
        rows,
        x="step",
        y="value",
        hue="task",
        style="task",
        palette={t: task_color(t) for t in tasks},
        markers={t: MARKERS[t % len(MARKERS)] for t in tasks},
        dashes=False,
        errorbar=("pi", 100),
        ax=ax,
        **kwargs,
    )
    last = rows["step"].max()
    if reference is not None:
        joint = _task_means(reference, metric, part, given)
        _joint_bars(ax, joint, right=last)
    dotted_line(ax, y=0.5)
    # Axes that share theirs leave room for each other's curves.
    shared = ax.get_shared_y_axes().get_siblings(ax)
    values = [line.get_ydata() for one in shared for line in one.lines]
    bottom = min(0.45, np.nanmin(np.concatenate(values)) - 0.03)
    ax.set(
        xlabel="after learning task",
        ylabel=LABELS.get(metric, metric),
        ylim=(bottom, 1.01),
    )
    ax.set_xticks(range(last + 1), _tasks(last + 1))
    _task_legend(ax)
    return ax


def _task_legend(ax: Axes) -> None:
    """One entry per task beside the axes, unless the caller asked for no legend."""
    handles, _ = ax.get_legend_handles_labels()
    if handles:
        names = _tasks(len(handles))
        legend_beside(ax, handles=handles, labels=names, title="task")


def _joint_bars(ax: Axes, rows: pd.DataFrame, right: float) -> None:
    """A short bar per task, right of the curves."""
    for task, value in rows.groupby("task")["value"].mean().items():
        ax.plot(
            [right + 0.12, right + 0.3],
            [value, value],
            color=task_color(int(task)),
            lw=5,
            solid_capstyle="butt",
        )
    ax.annotate(
        "joint",
        (right + 0.21, 1.0),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        size="small",
    )


@alike
def plot_forgetting(
    table: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Change of each task since it was learned, with its interval.

    How to read it: a point left of 0 is a loss; where the bar crosses 0, the test
    images cannot tell it from none.

    Args:
        table: Of `forgetting_table`.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis import forgetting_table
        >>> from analysis.detection import plot_forgetting
        >>> ax = plot_forgetting(forgetting_table([run]))
    """
    ax = ax or plt.gca()
    labels = []
    for y, row in enumerate(table.itertuples()):
        if row.task == "average":
            labels.append("average")
            look = {"color": AVERAGE, "marker": "D"}
        else:
            task = int(row.task)
            name = f"{task + 1}: {row.categories}"
            labels.append(textwrap.fill(name, LONGEST))
            look = {"color": task_color(task), "marker": MARKERS[task % len(MARKERS)]}
        error = [[row.change - row.low], [row.high - row.change]]
        ax.errorbar(
            row.change,
            y,
            xerr=error,
            ls="",
            **look,
            **kwargs,
        )
    dotted_line(ax, x=0)
    ax.set_yticks(range(len(table)), labels)
    for text, task in zip(ax.get_yticklabels(), table["task"]):
        text.set_color(AVERAGE if task == "average" else text_color(int(task)))
    ax.set(
        xlabel="change since learned (negative: loss), 95 % interval",
        ylim=(len(table) - 0.5, -0.5),
    )
    return ax


@alike
def plot_strategies(
    evaluated: pd.DataFrame,
    *,
    ax: Axes | None = None,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """Last model of each strategy, one point per category, a bar at their mean.

    How to read it: compare the bars, whose heights stand under the names; the points
    show which categories make the difference, in their task's colour.

    Args:
        evaluated: A table of `evaluate`, of several strategies.
        ax: Where to draw; new axes by default.
        metric: Its name.
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `seaborn.swarmplot`.

    Example:
        >>> from analysis import evaluate
        >>> from analysis.detection import plot_strategies
        >>> ax = plot_strategies(evaluate(runs))
    """
    ax = ax or plt.gca()
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    final = matching(first_and_last(rows), when="last")
    keys = ["strategy", "task", "category"]
    means = final.groupby(keys, sort=False)["value"].mean().reset_index()
    strategies = list(dict.fromkeys(means["strategy"]))
    look = {
        "order": strategies,
        "palette": {task: task_color(task) for task in sorted(means["task"].unique())},
        "size": 10,
        "warn_thresh": 1.0,
        **kwargs,
    }
    sns.swarmplot(
        means,
        x="strategy",
        y="value",
        hue="task",
        ax=ax,
        **look,
    )
    heights = means.groupby("strategy")["value"].mean()[strategies]
    edges = np.arange(len(strategies)) + np.array([[-0.3], [0.3]])
    ax.plot(edges, [heights, heights], color="black", lw=4, zorder=0.9)
    labels = [f"{label_of(name)}\nmean {mean:.2f}" for name, mean in heights.items()]
    ax.set_xticks(range(len(strategies)), labels)
    dotted_line(ax, y=0.5)
    ax.set(
        xlabel="", ylabel=LABELS.get(metric, metric), xlim=(-0.5, len(strategies) - 0.5)
    )
    _task_legend(ax)
    return ax


@alike
def plot_losses(
    losses: pd.DataFrame,
    *,
    ax: Axes | None = None,
    level: int = 0,
    **kwargs: Any,
) -> Axes:
    """Terms of one level's objective while task after task is learned.

    A line is a term, named at its end; its colour is the task that is trained on.

    How to read it: every task begins with a jump; a curve that still falls at its end
    was stopped early. Terms that begin late are those within a class.

    Args:
        losses: `run.losses`.
        ax: Where to draw; new axes by default.
        level: Feature level.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis.detection import plot_losses
        >>> ax = plot_losses(run.losses)
    """
    ax = ax or plt.gca()
    rows = matching(losses, level=level)
    n_epochs = rows.groupby("step")["epoch"].transform("max") + 1
    rows = rows.assign(time=rows["step"] + (rows["epoch"] + 0.5) / n_epochs)
    ends = []
    for style, (term, line) in zip(cycle(LINES), rows.groupby("term", sort=False)):
        for step, one in line.groupby("step"):
            look = {"color": task_color(step), "ls": style, "lw": 2, **kwargs}
            ax.plot(one["time"], one["value"], **look)
        name = label_of(term, column="term")
        ends.append((name, line["time"].iloc[-1], line["value"].iloc[-1], "black"))
    _name_tasks(ax, rows["step"].max() + 1)
    passes = ", ".join(map(str, sorted(n_epochs.unique())))
    ax.set(xlabel=f"while learning task ({passes} passes each)")
    ax.set(ylabel=f"loss of level {level + 1}, mean over a pass")
    names_beside(ax, ends)
    return ax


def _name_tasks(ax: Axes, n_tasks: int) -> None:
    """Number each unit of x as a task, in its colour; lines between them."""
    ax.set_xticks(np.arange(n_tasks) + 0.5, _tasks(n_tasks))
    for task, text in enumerate(ax.get_xticklabels()):
        text.set_color(text_color(task))
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(0, n_tasks)
    for start in range(1, n_tasks):
        dotted_line(ax, x=start)


def _task_means(
    evaluated: pd.DataFrame,
    metric: str,
    part: str,
    given: str,
) -> pd.DataFrame:
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    means = rows.groupby(["run", "step", "task"])["value"].mean()
    return means.reset_index()


def _tasks(n: int) -> list[str]:
    return [str(task + 1) for task in range(n)]
