"""Conclusions on methods, over seeds and against fine-tuning."""

__all__ = [
    "COMPARED",
    "against_reference",
    "methods_beside",
    "methods_table",
    "over_seeds",
]

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import interval_of, seed_interval
from analysis.rows import chosen, matching, of_tables

COMPARED = ("image_auroc", "pixel_auroc")
QUANTITIES = ("final_mean", "learning_score", "bwt", "forgetting", "joint_gap")
COSTS = ("kept_bytes", "step_ratio", "steps_ratio")

# Strategy -> its name on the slides.
SLIDES = {
    "finetune": "HGAD",
    "ewc": "+EWC",
    "lwf": "+LwF",
    "packnet": "+PackNet",
    "replay": "+Replay",
}


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with their Student interval, from rows of `per_seed`."""
    keys = ["method", "strategy", "metric", "quantity"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        interval = seed_interval(group["value"])
        out.append((*key, *interval, len(group)))
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high", "seeds"])


def against_reference(rows: pd.DataFrame, against: str) -> pd.DataFrame:
    """Difference of each method's final mean from another's, seed by seed.

    Args:
        rows: Of `per_seed`.
        against: The other method.
    """
    final = matching(rows, quantity="final_mean")
    chosen(final, method=against)  # or there are none to compare with
    wide = final.pivot(
        index=["metric", "seed"],
        columns="method",
        values="value",
    )
    others = [name for name in rows["method"].unique() if name != against]
    out = []
    for metric, values in wide.groupby("metric"):
        for name in others:
            differences = (values[name] - values[against]).dropna()
            if len(differences):
                interval = seed_interval(differences)
                out.append((name, metric, *interval, len(differences)))
    columns = ["method", "metric", "value", "low", "high", "seeds"]
    return pd.DataFrame(out, columns=columns)


@of_tables
def methods_table(compared: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`methods` as a page shows it.

    One row per method, each cell `mean [low, high]`; for `styled` and CSV.

    Args:
        compared: Of `methods`.
        digits: After the point, of AUROC.

    Example:
        >>> from analysis.methods import compare_methods
        >>> compared = compare_methods(runs, time_steps=False)
        >>> methods_table(compared).index.tolist()
        ['finetune', 'joint']
    """
    cells = compared.assign(cell=[_cell(row, digits) for row in compared.itertuples()])
    wide = cells.pivot(
        index="method",
        columns=["metric", "quantity"],
        values="cell",
    )
    reached = list(product(COMPARED, QUANTITIES))
    columns = [*reached, *product([""], COSTS)]
    there = [column for column in columns if column in wide.columns]
    rows = compared["method"].unique()
    return wide.reindex(index=rows, columns=there).fillna("")


@of_tables
def methods_beside(compared: pd.DataFrame, slides: pd.DataFrame) -> pd.DataFrame:
    """Our methods, at every strength, beside the slides' rows for them.

    Forgetting is in the slides' sign (bwt).

    Args:
        compared: Of `methods`.
        slides: `load_reference("slides_methods")`.

    Returns:
        One row per method of ours that the slides have, under two headings.

    Example:
        >>> from analysis import load_reference
        >>> from analysis.methods import compare_methods
        >>> compared = compare_methods(runs, time_steps=False)
        >>> both = methods_beside(compared, load_reference("slides_methods"))
        >>> both.columns.get_level_values(0).unique().tolist()
        ['ours', 'slides']
    """
    quantities = ["final_mean", "bwt"]
    known = compared[compared["strategy"].isin(SLIDES)]
    wide = known[known["quantity"].isin(quantities)].pivot(
        index=["strategy", "method"],
        columns=["quantity", "metric"],
        values="value",
    )
    ours = wide.reindex(columns=list(product(quantities, COMPARED)))
    theirs = slides.set_index("method")
    order = []
    for strategy in SLIDES:
        methods = matching(known, strategy=strategy)["method"].unique()
        order += [(strategy, method) for method in methods]
    names = [SLIDES[strategy] for strategy, _ in order]
    labels = [f"{SLIDES[strategy]}: {method}" for strategy, method in order]
    index = pd.Index(labels, name="slides: ours")
    sides = {
        "ours": ours.set_axis(theirs.columns, axis=1).loc[order].set_axis(index),
        "slides": theirs.reindex(names).set_axis(index),
    }
    return pd.concat(sides, axis=1)


def _cell(row: Any, digits: int) -> str:
    if row.quantity == "kept_bytes":
        return f"{row.value:,.0f}"
    if row.quantity in COSTS:
        return f"{row.value:.2f}"
    value, low, high = (f"{number:.{digits}f}" for number in interval_of(row))
    return value if np.isnan(row.low) else f"{value} [{low}, {high}]"
