"""Recovery drawn: the first task beside its controls, and what it costs the newest."""

__all__ = ["PROBE_STYLES", "plot_recovery", "plot_recovery_cost"]

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.recovery.conclude import at_rate
from analysis.rows import alike, matching
from analysis.style import (
    dotted_line,
    error_bars,
    names_beside,
    task_color,
    text_color,
)

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
BARS = {"capsize": 0, "elinewidth": 1.5}


@alike
def plot_recovery(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = 1,
    update: str = "both",
    shots: int | None = None,
    lr: float | None = None,
    marks: Mapping[str, int] | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC of the first task over few-shot training steps, one line a probe.

    Bars are intervals over test images; those of one number of steps stand side by
    side.

    How to read it: the gap between the forgotten model and the dashed lines is what was
    kept; where they run together the steps teach rather than remind. The horizontal
    lines are the task just learned, and the forgotten model before the steps.

    Args:
        curves: Of `recovery_curves`.
        ax: Where to draw; new axes by default.
        step: After which task: index of the last one learned.
        update: `"both"`, `"centers"` or `"flow"`.
        shots: Images per category; the most there are by default.
        lr: Learning rate; the highest there is by default.
        marks: Numbers of steps to name below the axis, by what they are.
        legend: Whether to name the probes.
        **kwargs: For `Axes.plot`.

    Example:
        >>> from analysis.recovery import measure_recovery, plot_recovery
        >>> from analysis.recovery import recovery_curves
        >>> ax = plot_recovery(recovery_curves(measure_recovery(run, steps=(0, 1, 3))))
    """
    ax = ax or plt.gca()
    rows = _chosen(curves, step, update, shots, lr, task=0)
    _draw(ax, rows, step, kwargs)
    _mark(ax, rows["n_steps"], marks or {})
    learned = matching(curves, step=step, probe="learned")["value"]
    forgotten = matching(rows, probe="forgotten", n_steps=0)["value"]
    levels = [("just\nlearned", value) for value in learned.head(1)]
    levels += [("before\nthe steps", value) for value in forgotten.head(1)]
    _levels(ax, levels)
    ax.set(ylabel="image AUROC of task 1")
    return _finish(ax, legend)


def _levels(ax: Axes, levels: Iterable[tuple[str, float]]) -> None:
    """Horizontal lines where the steps start, and where the task was before."""
    look = {"color": task_color(0), "lw": 1.5, "ls": (0, (5, 3)), "zorder": 0}
    for _, value in levels:
        ax.axhline(value, **look)
    right = ax.get_xlim()[1]
    ends = [(name, right, value, text_color(0)) for name, value in levels]
    names_beside(ax, ends, size=16)


def _mark(ax: Axes, tested: Iterable[int], marks: Mapping[str, int]) -> None:
    """Ticks at the numbers of steps, with what they are below them."""
    ticks = sorted({*tested, *marks.values()})
    labels = []
    for tick in ticks:
        names = [name for name, n_steps in marks.items() if n_steps == tick]
        labels.append("\n".join([str(tick), "\n= ".join(names)]).strip())
    ax.set_xticks(ticks, labels)
    for n_steps in set(marks.values()):
        dotted_line(ax, x=n_steps)


@alike
def plot_recovery_cost(
    curves: pd.DataFrame,
    *,
    ax: Axes | None = None,
    step: int = 1,
    update: str = "both",
    shots: int | None = None,
    lr: float | None = None,
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Image AUROC of the newest task over the same steps: what recovery costs.

    How to read it: a line that falls is paid for with the newest task;
    what the same steps do to it on its own images is what they do anyway.

    Args:
        curves: Of `recovery_curves`; the other arguments are those of `plot_recovery`.

    Example:
        >>> from analysis.recovery import measure_recovery, plot_recovery_cost
        >>> from analysis.recovery import recovery_curves
        >>> curves = recovery_curves(measure_recovery(run, steps=(0, 1, 3)))
        >>> ax = plot_recovery_cost(curves)
    """
    ax = ax or plt.gca()
    rows = _chosen(curves, step, update, shots, lr, task=step)
    _draw(ax, rows, step, kwargs)
    _mark(ax, rows["n_steps"], {})
    ax.set(ylabel=f"image AUROC of task {step + 1}")
    return _finish(ax, legend)


def _draw(
    ax: Axes,
    rows: pd.DataFrame,
    step: int,
    kwargs: dict[str, Any],
) -> None:
    """A line per probe, with bars side by side."""
    names = [name for name in PROBE_STYLES if name in set(rows["probe"])]
    shifts = np.linspace(-0.03, 0.03, len(names)) * (len(names) - 1)
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    for shift, name in zip(shifts, names):
        line = matching(rows, probe=name).sort_values("n_steps")
        style = {"color": task_color(step), **PROBE_STYLES[name], **BARS, **kwargs}
        x = (1 + line["n_steps"].to_numpy()) * (1 + shift) - 1
        y = line["value"].to_numpy()
        ax.errorbar(x, y, yerr=error_bars(line), **style)
    ax.minorticks_off()


def _finish(ax: Axes, legend: bool) -> Axes:
    dotted_line(ax, y=0.5)
    ax.set(xlabel="training steps")
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3)
    return ax


def _chosen(
    curves: pd.DataFrame,
    step: int,
    update: str,
    shots: int | None,
    lr: float | None,
    *,
    task: int,
) -> pd.DataFrame:
    rows = matching(at_rate(curves, lr), step=step, update=update, task=task)
    most = rows["shots"].max()
    rows = matching(rows, shots=most if shots is None else shots)
    if rows.empty:
        raise ValueError(
            f"Expected rows with step={step}, update={update!r}, shots={shots}, "
            f"lr={lr} and task={task}; got none in the table."
        )
    return rows
