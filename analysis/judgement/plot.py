"""Evidence drawn: what each witness brings back, and what a rule finds planted."""

__all__ = ["plot_confusions", "plot_evidence", "plot_first_steps"]

from collections.abc import Mapping
from typing import Any

import lazy_loader
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.judgement.conclude import WITNESSES
from analysis.judgement.rule import MOST, PART, VERDICTS
from analysis.rows import alike, chosen, refuse_strategies
from analysis.style import (
    SEQUENTIAL,
    error_bars,
    legend_beside,
    readable_digits,
)
from analysis.words import counted

sns: Any = lazy_loader.load("seaborn")

LOOKS = {
    "back": {"label": "comes back", "mfc": "white", "color": "#0072B2"},
    "kept": {"label": "was kept", "mfc": "#D55E00", "color": "#D55E00"},
}
OFFSETS = {"back": -0.14, "kept": 0.14}
CARRIERS = {"mixture": "#CC79A7", "flow": "#0072B2", "together": "0.65"}
NAMED = {
    "mixture": "by the mixture alone",
    "flow": "by the flow alone",
    "together": "only by both",
}
RANGE = (-0.6, 1.3)  # of shares that are shown


@alike
def plot_evidence(
    evidence: pd.DataFrame, *, ax: Axes | None = None, task: int = 0, **kwargs: Any
) -> Axes:
    """Share of a task's drop that each witness brings back, and what of it was kept.

    How to read it: a filled point right of the dashed line says that most of the drop
    was kept, by this witness; between the lines it is a part. A hollow point alone on
    the right was taught. The lines are those of the rule.

    Args:
        evidence: Of `evidence`, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index.
        **kwargs: For `Axes.errorbar`.

    Example:
        >>> from analysis.judgement import evidence, plot_evidence
        >>> from analysis.ledger import measure_ledger
        >>> ax = plot_evidence(evidence(measure_ledger(run)))
    """
    ax = ax or plt.gca()
    rows = chosen(evidence, task=task)
    refuse_strategies(rows)
    names = [name for name in WITNESSES if name in set(rows["witness"])]
    rows = rows.set_index("witness").loc[names]
    for kind, look in LOOKS.items():
        values = rows[kind].clip(*RANGE)
        low, high = (rows[f"{kind}_{end}"].clip(*RANGE) for end in ("low", "high"))
        options = {
            "fmt": "o",
            "markersize": 10,
            "capsize": 0,
            **look,
            **kwargs,
        }
        height = np.arange(len(rows)) + OFFSETS[kind]
        errors = [(values - low).clip(lower=0), (high - values).clip(lower=0)]
        ax.errorbar(values, height, xerr=errors, **options)
    label = f"share of the drop of task {counted(task)}"
    if rows["kept"].isna().all():
        label += "\n(none: its interval holds 0)"
    ax.axvline(0, color="0.8", zorder=0)
    for share, name, style in ((PART, "a part", ":"), (MOST, "most of it", "--")):
        ax.axvline(share, color="0.4", linestyle=style, zorder=0, label=name)
    ax.set_yticks(np.arange(len(rows)), [WITNESSES[name] for name in names])
    ax.set(
        xlim=RANGE,
        ylim=(len(rows) - 0.5, -0.5),
        xlabel=label,
    )
    legend_beside(ax)
    return ax


@alike
def plot_confusions(
    found: pd.DataFrame,
    *,
    ax: Axes | None = None,
    expected: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Axes:
    """How often each planted illness got each verdict.

    How to read it: a frame marks the verdict that the illness deserves; what lies
    outside of the frames is a wrong diagnosis.

    Args:
        found: Of `verdicts`, one row per planted `illness` and seed, with its
            `verdict`.
        ax: Where to draw; new axes by default.
        expected: Illness -> the verdict that it deserves.
        **kwargs: For `seaborn.heatmap`.

    Example:
        >>> from analysis.judgement import plot_confusions, verdicts
        >>> from analysis.ledger import planted
        >>> ill = planted(run, illness=("nothing", "blocks_reset"), family=("full",))
        >>> ax = plot_confusions(verdicts(ill))
    """
    ax = ax or plt.gca()
    illnesses = list(dict.fromkeys(found["illness"]))
    counts = pd.crosstab(found["illness"], found["verdict"])
    counts = counts.reindex(index=illnesses, columns=list(VERDICTS), fill_value=0)
    named = counts.rename(index=lambda name: name.replace("_", " ").replace("+", " + "))
    options = {
        "cmap": SEQUENTIAL,
        "annot": True,
        "annot_kws": {"size": 16},
        "fmt": "d",
        "vmin": 0,
        "cbar_kws": {"label": "how often", "ticks": MaxNLocator(integer=True)},
        "linewidths": 0.5,
        **kwargs,
    }
    sns.heatmap(named, ax=ax, xticklabels=True, yticklabels=True, **options)
    readable_digits(ax)
    for illness, word in (expected or {}).items():
        if illness in illnesses:
            corner = (list(VERDICTS).index(word), illnesses.index(illness))
            frame = Rectangle(corner, 1, 1, fill=False, color="#D55E00", lw=3)
            ax.add_patch(frame)
    ax.set(xlabel="verdict", ylabel="planted")
    ax.tick_params(length=0)
    ax.tick_params(axis="x", rotation=30)
    return ax


@alike
def plot_first_steps(
    shares: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """What the first steps give back, and whether mixture or flow carries it.

    How to read it: bars of one number of steps add up to the point. A bar of `mixture`
    at 0 says that the return does not go through the mixture.

    Args:
        shares: Of `first_step_shares`, of one strategy and step.
        ax: Where to draw; new axes by default.
        **kwargs: For `Axes.bar`.

    Example:
        >>> from analysis.judgement import first_step_shares, measure_first_steps
        >>> from analysis.judgement import plot_first_steps
        >>> shares = first_step_shares(measure_first_steps(run, n_steps=(1, 3)))
        >>> ax = plot_first_steps(shares)
    """
    ax = ax or plt.gca()
    refuse_strategies(shares)
    counts = sorted(shares["n_steps"].unique())
    for i, (term, color) in enumerate(CARRIERS.items()):
        rows = shares[shares["term"] == term].set_index("n_steps").loc[counts]
        place = np.arange(len(counts)) + 0.25 * (i - 1)
        options = {"width": 0.22, "color": color, "label": NAMED[term], **kwargs}
        ax.bar(place, rows["value"], yerr=error_bars(rows), **options)
    whole = shares[shares["term"] == "return"].set_index("n_steps").loc[counts]
    ax.plot(
        np.arange(len(counts)), whole["value"], "kD", markersize=9, label="the return"
    )
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_xticks(np.arange(len(counts)), [str(n) for n in counts])
    ax.set(xlabel="training steps on task 1", ylabel="image AUROC gained")
    legend_beside(ax)
    return ax
