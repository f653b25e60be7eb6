"""Pictures of the forgetting ledger: the waterfall, shares by category, refits by family, transplants and transport."""

__all__ = [
    "plot_families",
    "plot_ledger",
    "plot_transplant",
    "plot_transport",
    "plot_volume",
    "plot_waterfall",
]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.style import NAMES, task_color

# Not the colours of tasks: Tol's muted scheme for what can be set right, grey for what cannot.
TERMS = {"confusion": "#44AA99", "center drift": "#DDCC77", "alignment": "#AA4499", "residual": "0.35"}
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
SIDES = {"first": {"color": "#332288", "marker": "o"}, "last": {"color": "#CC6677", "marker": "s"}}
FITS = {"rigid": "#88CCEE", "affine": "#117733", "class_affine": "#332288"}
PARTS = {"mixture": "#AA4499", "volume": "0.35"}


def plot_waterfall(
    terms: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    **kwargs: Any,
) -> Axes:
    """From what a task reached when it was learnt down to what is left of it, term by term.

    How to read it: each bar falls by its term, with the interval of the term at its end; a hatched bar rises, which is
    a gain. The coloured bars come back when competitors, centers and their fit are set right, the grey one does not.

    Args:
        terms: Of `ledger_terms`, by task, of one strategy.
        ax: Where to draw; new axes by default.
        task: Its index; the only one there is by default, or the mean of all in a table by "all".
        part: Score part.
        given: `"category"` or `"None"`.
        **kwargs: For `Axes.bar`, of the terms.
    """
    ax = ax or plt.gca()
    rows = _chosen(terms, part=part, given=given) if task is None else _chosen(terms, part=part, given=given, task=task)
    if rows["term"].duplicated().any():
        raise ValueError("Expected one strategy and one task; got several. Choose one of them.")
    rows = rows.set_index("term")
    learned, final = rows.loc["learned", "value"], rows.loc["final", "value"]
    ends = {"width": 0.7, "color": "0.85" if task is None else task_color(task), "alpha": 1 if task is None else 0.8}
    ax.bar([0, len(TERMS) + 1], [learned, final], **ends)
    level = learned
    for x, (name, color) in enumerate(TERMS.items(), start=1):
        value, low, high = rows.loc[name, ["value", "low", "high"]]
        ax.bar(
            x, -value, bottom=level, **{"width": 0.7, "color": color, "hatch": "//" if value < 0 else None, **kwargs}
        )
        ax.plot([x - 1.35, x + 0.35], [level, level], color="0.6", lw=1)
        level -= value
        ax.errorbar(x, level, yerr=[[max(0, high - value)], [max(0, value - low)]], color="black", lw=1.5, capsize=4)
    ax.plot([len(TERMS) - 0.35, len(TERMS) + 1.35], [level, level], color="0.6", lw=1)
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(range(len(TERMS) + 2), ["learnt", *TERMS, "now"], rotation=35, ha="right", rotation_mode="anchor")
    ax.set(ylabel="image AUROC", ylim=(max(0, min(0.25, level - 0.1)), 1.02))
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

    How to read it: terms that lower the AUROC go right, terms that raised it left, and the diamond is their sum, the
    drop. The grey part is what neither centers nor competitors explain.

    Args:
        terms: Of `ledger_terms`, by category or by task, of one strategy.
        ax: Where to draw; new axes by default.
        part: Score part.
        given: `"category"` or `"None"`.
        legend: Whether to name the terms.
        **kwargs: For `Axes.barh`.
    """
    ax = ax or plt.gca()
    rows = _chosen(terms, part=part, given=given)
    names = rows["category"] if "category" in rows else "task " + (rows["task"] + 1).astype(str)
    values = rows.assign(name=names).pivot(index="name", columns="term", values="value").loc[list(dict.fromkeys(names))]
    y, edges = np.arange(len(values)), {1: np.zeros(len(values)), -1: np.zeros(len(values))}
    for name, color in TERMS.items():
        for sign, edge in edges.items():
            width = values[name].where(np.sign(values[name]) == sign, 0.0).to_numpy()
            label = name if sign == 1 else None
            ax.barh(y, width, left=edge, **{"color": color, "height": 0.7, "label": label, **kwargs})
            edge += width
    ax.plot(values["drop"], y, ls="", marker="D", ms=8, mfc="white", mec="black", mew=1.5, label="drop")
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
    """How far refitted centers bring a task back, family by family, beside a ceiling and a control.

    How to read it: the line of the new flow starts at the old centers and runs through families that hold each other;
    the affine map stands beside them. Where it stops rising names the drift; what is missing to the dashed line is
    lost; what an untrained flow reaches as well was taught, not kept.

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
    rows = _chosen(families, part=part, given=given)
    rows = rows if task is None else _chosen(rows, task=task)
    names = [name for name in FAMILIES if name in set(rows["family"])]
    for flow in (flow for flow in FLOWS if flow in set(rows["flow"])):
        line = rows[rows["flow"] == flow].set_index("family")
        known = [name for name in names if name in line.index]
        x, line = np.array([names.index(name) for name in known]), line.loc[known]
        nested, style = np.array(known) != "affine", {**FLOWS[flow], **kwargs}
        ax.plot(x[nested], line["value"][nested], **style)
        ax.fill_between(x[nested], line["low"][nested], line["high"][nested], color=style["color"], alpha=0.12, lw=0)
        error = [(line["value"] - line["low"])[~nested], (line["high"] - line["value"])[~nested]]
        ax.errorbar(x[~nested], line["value"][~nested], yerr=error, **{**style, "ls": "", "label": None})
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(range(len(names)), [FAMILIES[name] for name in names])
    ax.set(xlabel="what is refitted", ylabel="image AUROC")
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_transplant(
    hybrids: pd.DataFrame,
    *,
    ax: Axes | None = None,
    task: int | None = None,
    part: str = "product",
    metric: str = "image_auroc",
    legend: bool = True,
    **kwargs: Any,
) -> Axes:
    """AUROC against the number of coupling blocks that come from the old flow.

    How to read it: left the new flow, right the old one. Solid lines have refitted centers, dashed ones the old; where
    the line of the first blocks jumps is where the new flow begins to harm.

    Args:
        hybrids: Of `transplant`; a mean over categories, and over runs and tasks where there are several.
        ax: Where to draw; new axes by default.
        task: Its index; all by default.
        part: Score part.
        metric: Its name.
        legend: Whether to name the lines.
        **kwargs: For `Axes.plot`.
    """
    ax = ax or plt.gca()
    rows = _chosen(hybrids, part=part, metric=metric)
    rows = rows if task is None else _chosen(rows, task=task)
    means = rows.groupby(["side", "centers", "blocks"])["value"].mean()
    for side, centers in dict.fromkeys(key[:2] for key in means.index):
        style = {**SIDES[side], "ls": "--" if centers == "old" else "-", "mfc": "white" if centers == "old" else None}
        label = f"{side} blocks, " + ("old centers" if centers == "old" else f"refitted ({centers})")
        line = means[side, centers]
        ax.plot(line.index, line, **{**style, "label": label, **kwargs})
    ax.axhline(0.5, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_xticks(sorted(rows["blocks"].unique()))
    ax.set(xlabel="blocks from the old flow", ylabel=NAMES.get(metric, metric))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_transport(
    moves: pd.DataFrame, *, ax: Axes | None = None, source: str = "images", legend: bool = True, **kwargs: Any
) -> Axes:
    """How much of where latents went is explained by a map: one rigid, one affine, one affine map per class.

    How to read it: full bars are a flow that moved its classes as whole bodies, which refitted centers can follow; what
    is missing above the last bar of a task no map of its kind can undo.

    Args:
        moves: Of `transport`; a mean over levels and runs, one group of bars per task.
        ax: Where to draw; new axes by default.
        source: `"images"` or `"mixture"`.
        legend: Whether to name the maps.
        **kwargs: For `Axes.bar`.
    """
    ax = ax or plt.gca()
    rows = _chosen(moves, source=source, category="all")
    means = rows.groupby(["task", "quantity"])["value"].mean().unstack()
    x = np.arange(len(means))
    for shift, (name, color) in zip((-0.27, 0, 0.27), FITS.items()):
        label = name.replace("_", " ").replace("class affine", "affine per class")
        ax.bar(x + shift, means[name], **{"width": 0.25, "color": color, "label": label, **kwargs})
    ax.set_xticks(x, [f"task {task + 1}" for task in means.index])
    ax.set(ylabel="R² of latents", ylim=(0, 1.02))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_volume(
    moves: pd.DataFrame, *, ax: Axes | None = None, source: str = "images", legend: bool = True, **kwargs: Any
) -> Axes:
    """What log p of normal patches changed by since they were learnt, split into the mixture's part and the volume's.

    How to read it: left is less likely than before. Centers can mend the mixture's part and never the volume's; a mean
    that moves all patches alike harms no AUROC, so read it beside the ledger.

    Args:
        moves: Of `transport`; a mean over levels and runs, one bar per category.
        ax: Where to draw; new axes by default.
        source: `"images"` or `"mixture"`.
        legend: Whether to name the parts.
        **kwargs: For `Axes.barh`.
    """
    ax = ax or plt.gca()
    rows = _chosen(moves, source=source)
    rows = rows[rows["category"] != "all"]
    means = rows.groupby(["category", "quantity"], sort=False)["value"].mean().unstack()
    y = np.arange(len(means))
    for shift, (name, color) in zip((-0.2, 0.2), PARTS.items()):
        ax.barh(y + shift, means[name], **{"height": 0.38, "color": color, "label": name, **kwargs})
    ax.axvline(0, color="0.6", lw=1.5, ls=":", zorder=0)
    ax.set_yticks(y, means.index)
    ax.locator_params(axis="x", nbins=5)
    ax.set(xlabel="change of log p / D", ylim=(len(means) - 0.5, -0.5))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def _chosen(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows that hold the given values."""
    for column, value in values.items():
        if value not in set(frame[column]):
            known = ", ".join(map(str, frame[column].unique()))
            raise ValueError(f"Expected rows with {column}={value!r}; there are: {known}.")
        frame = frame[frame[column] == value]
    return frame
