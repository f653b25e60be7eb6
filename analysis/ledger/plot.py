"""Pictures of the forgetting ledger.

The waterfall, the terms of every category, refits by family.
"""

__all__ = ["FAMILIES", "TERMS", "plot_families", "plot_ledger", "plot_waterfall"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.rows import chosen
from analysis.style import task_color

# Not the colours of tasks: Tol's muted scheme for what can be set right, grey for what
# cannot.
TERMS = {
    "confusion": "#44AA99",
    "center drift": "#DDCC77",
    "alignment": "#AA4499",
    "residual": "0.35",
}
FLOWS = {
    "old": {"label": "flow just learnt", "color": "0.35", "ls": "--", "marker": "s"},
    "new": {"label": "new flow", "color": "#AA4499", "ls": "-", "marker": "o"},
    "untrained": {"label": "untrained flow", "color": "0.65", "ls": ":", "marker": "v"},
}
FAMILIES = {
    "none": "old\ncenters",
    "means": "means",
    "offsets": "offsets",
    "diagonal": "diag.",
    "full": "full",
    "affine": "affine",
}


def plot_waterfall(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """Waterfall from what a task reached to what is left of it.

    Term by term.

    How to read it: each bar falls by its term, with the interval of the term at its
    end; a hatched bar rises, which is a gain. The coloured bars come back when
    competitors, centers and their fit are set right, the grey one does not.

    Args:
        terms: Of `ledger_terms`, by task, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index; the only one there is by default, or the mean of all in a table
            by "all".
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `Axes.bar`, of the terms.
    """
    ax = ax or plt.gca()
    rows = (
        chosen(terms, part=part, given=given)
        if task is None
        else chosen(terms, part=part, given=given, task=task)
    )
    if rows["term"].duplicated().any():
        raise ValueError(
            "Expected one strategy and one task; got several. Choose one of them."
        )
    rows = rows.set_index("term")
    learned = rows.loc["learned", "value"]
    final = rows.loc["final", "value"]
    ends = {
        "width": 0.7,
        "color": "0.85" if task is None else task_color(task),
        "alpha": 1 if task is None else 0.8,
    }
    ax.bar([0, len(TERMS) + 1], [learned, final], **ends)
    level = learned
    for x, (name, color) in enumerate(TERMS.items(), start=1):
        value, low, high = rows.loc[name, ["value", "low", "high"]]
        ax.bar(
            x,
            -value,
            bottom=level,
            **{
                "width": 0.7,
                "color": color,
                "hatch": "//" if value < 0 else None,
                **kwargs,
            },
        )
        ax.plot([x - 1.35, x + 0.35], [level, level], color="0.6", lw=1)
        level -= value
        ax.errorbar(
            x,
            level,
            yerr=[[max(0, high - value)], [max(0, value - low)]],
            color="black",
            lw=1.5,
            capsize=4,
        )
    ax.plot([len(TERMS) - 0.35, len(TERMS) + 1.35], [level, level], color="0.6", lw=1)
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(
        range(len(TERMS) + 2),
        ["learnt", *TERMS, "now"],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    # Bars begin at 0, and a level between two terms may well lie above 1.
    ax.set(ylabel="image AUROC")
    return ax


def plot_ledger(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    part: str = "product",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """The drop of every category, cut into its terms.

    How to read it: terms that lower the AUROC go right, terms that raised it left, and
    the diamond is their sum, the drop. The grey part is what neither centers nor
    competitors explain.

    Args:
        terms: Of `ledger_terms`, by category or by task, of one strategy.
        ax: Where to draw; new axes by default.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the terms.
        **kwargs: For `Axes.barh`.
    """
    ax = ax or plt.gca()
    rows = chosen(terms, part=part, given=given)
    names = (
        rows["category"]
        if "category" in rows
        else "task " + (rows["task"] + 1).astype(str)
    )
    values = (
        rows.assign(name=names)
        .pivot(index="name", columns="term", values="value")
        .loc[list(dict.fromkeys(names))]
    )
    y = np.arange(len(values))
    edges = {1: np.zeros(len(values)), -1: np.zeros(len(values))}
    for name, color in TERMS.items():
        for sign, edge in edges.items():
            width = values[name].where(np.sign(values[name]) == sign, 0.0).to_numpy()
            label = name if sign == 1 else None
            ax.barh(
                y,
                width,
                left=edge,
                **{"color": color, "height": 0.7, "label": label, **kwargs},
            )
            edge += width
    ax.plot(
        values["drop"],
        y,
        ls="",
        marker="D",
        ms=8,
        mfc="white",
        mec="black",
        mew=1.5,
        label="drop",
    )
    ax.axvline(0, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_yticks(y, values.index)
    ax.use_sticky_edges = False
    ax.margins(x=0.05)
    ax.set(xlabel="drop of image AUROC", ylim=(len(values) - 0.5, -0.5))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_families(
    families: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """Recovery by refitted centers, family by family.

    Beside a ceiling and a control.

    How to read it: the line of the new flow starts at the old centers and runs through
    families that hold each other; the affine map stands beside them. Where it stops
    rising names the drift; what is missing to the dashed line is lost; what an
    untrained flow reaches as well was taught, not kept.

    Args:
        families: Of `ledger_families`, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index, in a table by task.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the flows.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = chosen(families, part=part, given=given)
    rows = rows if task is None else chosen(rows, task=task)
    names = [name for name in FAMILIES if name in set(rows["family"])]
    for flow in (flow for flow in FLOWS if flow in set(rows["flow"])):
        line = rows[rows["flow"] == flow].set_index("family")
        known = [name for name in names if name in line.index]
        x = np.array([names.index(name) for name in known])
        line = line.loc[known]
        nested = np.array(known) != "affine"
        style = {**FLOWS[flow], **kwargs}
        ax.plot(x[nested], line["value"][nested], **style)
        ax.fill_between(
            x[nested],
            line["low"][nested],
            line["high"][nested],
            color=style["color"],
            alpha=0.12,
            lw=0,
        )
        error = [
            (line["value"] - line["low"])[~nested],
            (line["high"] - line["value"])[~nested],
        ]
        ax.errorbar(
            x[~nested],
            line["value"][~nested],
            yerr=error,
            **{**style, "ls": "", "label": None},
        )
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(range(len(names)), [FAMILIES[name] for name in names])
    ax.set(xlabel="what is refitted", ylabel="image AUROC")
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax
