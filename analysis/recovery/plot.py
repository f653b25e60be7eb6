"""Recovery drawn: the first task beside its controls, and what it costs the newest."""

__all__ = ["PROBE_STYLES", "plot_recovery", "plot_recovery_cost"]

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, matching
from analysis.style import HALO, dotted_line, legend_beside, task_color

# In the colour of the task whose images are trained on; models that never knew the
# first task are grey.
PROBE_STYLES = {
    "forgotten": {
        "label": "forgotten",
        "color": task_color(0),
        "ls": "-",
        "marker": "o",
    },
    "held_out": {
        "label": "category left out",
        "color": task_color(0),
        "ls": ":",
        "marker": "s",
    },
    "sham": {"label": "newest task's images", "ls": "-.", "marker": "^"},
    "never_learned": {
        "label": "never learned",
        "color": "black",
        "ls": "--",
        "marker": "D",
    },
    "untrained": {"label": "untrained", "color": "0.55", "ls": "--", "marker": "v"},
}
# Five would hide each other.
BANDS = ("forgotten", "never_learned")


@alike
def plot_recovery(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = 1,
    update: str = "both",
    shots: int | None = None,
    marks: Mapping[str, int] | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC of the first task over few-shot training steps, one line a probe.

    The two that are to be compared, forgotten and never learned, have a band: the
    interval over test images.

    How to read it: the gap between the forgotten model and the dashed lines is what was
    kept; where they run together the steps teach rather than remind. The thin
    horizontal lines are the task just learned, and the forgotten model before the first
    step.

    Args:
        curves: Of `recovery_curves`.
        ax: Where to draw; new axes by default.
        step: After which task: index of the last one learned.
        update: `"both"`, `"centers"` or `"flow"`.
        shots: Images per category; the most there are by default.
        marks: Numbers of steps to mark, by the names of what they are.
        legend: Whether to name the probes.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = _chosen(curves, step, update, shots, task=0)
    _draw(ax, rows, step, kwargs)
    learned = matching(curves, step=step, probe="learned")["value"]
    forgotten = matching(rows, probe="forgotten", n_steps=0)["value"]
    _levels(ax, learned.head(1), forgotten.head(1))
    _mark(ax, marks or {})
    ax.set(ylabel="image AUROC of task 1")
    return _finish(ax, legend)


def _levels(ax: Axes, learned: Iterable[float], forgotten: Iterable[float]) -> None:
    """Named horizontal lines where the steps start, and where the task was before."""
    levels = [(value, "just learned") for value in learned]
    levels += [(value, "before the steps") for value in forgotten]
    # The name of the lower one hangs below it.
    sides = ("top", "bottom") if len(levels) == 2 else ("bottom",)
    for (value, name), side in zip(sorted(levels), sides):
        ax.axhline(
            value,
            color=task_color(0),
            lw=1.5,
            ls=(0, (5, 3)),
            zorder=0,
        )
        ax.annotate(
            name,
            (0.99, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va=side,
            size="small",
            path_effects=HALO,
        )


def _mark(ax: Axes, marks: Mapping[str, int]) -> None:
    """Named vertical lines; those of one number of steps share a line."""
    for n_steps in sorted(set(marks.values())):
        names = [name for name, steps in marks.items() if steps == n_steps]
        ax.axvline(n_steps, color="0.6", lw=1, ls=":", zorder=0)
        ax.annotate(
            " = ".join(names),
            (n_steps, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            rotation=90,
            size="small",
            color="0.35",
            path_effects=HALO,
        )


@alike
def plot_recovery_cost(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = 1,
    update: str = "both",
    shots: int | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC of the newest task over the same steps: what recovery costs.

    How to read it: a line that falls is paid for with the newest task;
    what the same steps do to it on its own images is what they do anyway.

    The arguments are those of `plot_recovery`.
    """
    ax = ax or plt.gca()
    rows = _chosen(curves, step, update, shots, task=step)
    _draw(ax, rows, step, kwargs)
    ax.set(ylabel=f"image AUROC of task {step + 1}")
    return _finish(ax, legend)


def _draw(
    ax: Axes,
    rows: pd.DataFrame,
    step: int,
    kwargs: dict[str, Any],
) -> None:
    """A line per probe, and a band where there is to be one."""
    for name, own in PROBE_STYLES.items():
        line = matching(rows, probe=name).sort_values("n_steps")
        if line.empty:
            continue
        style = {"color": task_color(step), **own, **kwargs}
        ax.plot(line["n_steps"], line["value"], **style)
        if name in BANDS:
            ax.fill_between(
                line["n_steps"],
                line["low"],
                line["high"],
                color=style["color"],
                alpha=0.15,
                lw=0,
            )
    ticks = sorted(rows["n_steps"].unique())
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()


def _finish(ax: Axes, legend: bool) -> Axes:
    dotted_line(ax, y=0.5)
    ax.set(xlabel="training steps")
    if legend:
        legend_beside(ax)
    return ax


def _chosen(
    curves: pd.DataFrame,
    step: int,
    update: str,
    shots: int | None,
    *,
    task: int,
) -> pd.DataFrame:
    rows = matching(curves, step=step, update=update, task=task)
    most = rows["shots"].max()
    rows = matching(rows, shots=most if shots is None else shots)
    if rows.empty:
        raise ValueError(
            f"Expected rows with step={step}, update={update!r}, shots={shots} and "
            f"task={task}; got none in the table."
        )
    return rows
