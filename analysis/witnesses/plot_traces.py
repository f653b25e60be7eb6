"""Traces of an early warning drawn."""

__all__ = ["plot_leads"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import alike, refuse_strategies
from analysis.style import dotted_line, error_bars

TRACE_LABELS = {
    "nll": "−log p of old draws",
    "kl": "divergence of old latents",
    "margin": "least distance of old centers",
    "log_det": "volume at old draws",
}


@alike
def plot_leads(leads: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """How many steps before half the drop each trace raised its alarm.

    A point a run, with the interval that the test images leave to half the drop.

    How to read it: right of the dotted line it warned in time, left of it too late. A
    trace that was silent says so.

    Args:
        leads: Of `trace_leads`, of one strategy.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.witnesses import measure_traces, plot_leads, trace_leads
        >>> ax = plot_leads(trace_leads(measure_traces(run), n_start=3, patience=2))
    """
    ax = ax or plt.gca()
    refuse_strategies(leads)
    names = [name for name in TRACE_LABELS if name in set(leads["trace"])]
    style = {"fmt": "o", "color": "#332288", "capsize": 4, **kwargs}
    for row, name in enumerate(names):
        known = leads[leads["trace"] == name].dropna(subset="lead")
        at = row + 0.15 * (np.arange(len(known)) - (len(known) - 1) / 2)
        ax.errorbar(known["lead"], at, xerr=error_bars(known, "lead"), **style)
        if known.empty:
            is_silent = leads.loc[leads["trace"] == name, "alarm"].isna().all()
            ax.annotate(
                "silent" if is_silent else "alarm, but nothing fell",
                (0, row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
    dotted_line(ax, x=0)
    ax.set_yticks(range(len(names)), [TRACE_LABELS[name] for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set(xlabel="lead over half the drop, optimizer steps")
    return ax
