"""Conclusions on methods, over seeds and against fine-tuning."""

__all__ = [
    "COMPARED",
    "against_reference",
    "methods_beside",
    "methods_table",
    "over_seeds",
]

from typing import Any

import numpy as np
import pandas as pd

from analysis.intervals import seed_interval

COMPARED = ("image_auroc", "pixel_auroc")


QUANTITIES = ("final_mean", "learning_score", "bwt", "forgetting", "joint_gap")


SLIDES = {
    "finetune": "HGAD",
    "ewc": "+EWC",
    "lwf": "+LwF",
    "packnet": "+PackNet",
    "replay": "+Replay",
}


COSTS = ("kept_bytes", "step_ratio", "steps_ratio")


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with their Student interval, from rows of `per_seed`."""
    keys = ["method", "strategy", "metric", "quantity"]
    out = [
        (*key, *seed_interval(group["value"]), len(group))
        for key, group in rows.groupby(keys, sort=False)
    ]
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high", "seeds"])


def against_reference(rows: pd.DataFrame, against: str) -> pd.DataFrame:
    """Difference of each method's final mean from another's.

    Seed by seed, from rows of `per_seed`.
    """
    wide = rows[rows["quantity"] == "final_mean"].pivot(
        index=["metric", "seed"], columns="method", values="value"
    )
    if against not in wide:
        raise KeyError(f"Unknown method {against!r}; known: {', '.join(wide)}.")
    out = []
    for metric, values in wide.groupby("metric"):
        for name in (name for name in rows["method"].unique() if name != against):
            differences = (values[name] - values[against]).dropna()
            if len(differences):
                out.append(
                    (name, metric, *seed_interval(differences), len(differences))
                )
    return pd.DataFrame(
        out, columns=["method", "metric", "value", "low", "high", "seeds"]
    )


def methods_table(compared: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`methods` as a page shows it.

    One row per method, each cell `mean [low, high]`; for `.style`, LaTeX and CSV.

    Args:
        compared: Of `methods`.
        digits: After the point, of AUROC.
    """
    cells = compared.assign(cell=[_cell(row, digits) for row in compared.itertuples()])
    wide = cells.pivot(index="method", columns=["metric", "quantity"], values="cell")
    columns = [(m, q) for m in COMPARED for q in QUANTITIES] + [("", q) for q in COSTS]
    order = compared["method"].unique()
    return wide.reindex(
        index=order, columns=[c for c in columns if c in wide.columns]
    ).fillna("")


def methods_beside(compared: pd.DataFrame, slides: pd.DataFrame) -> pd.DataFrame:
    """Our methods beside the slides' rows for them.

    At every strength, forgetting in the slides' sign (bwt).

    Args:
        compared: Of `methods`.
        slides: `load_reference("slides_methods")`.

    Returns:
        One row per method of ours that the slides have, under two headings.
    """
    final = compared[
        compared["quantity"].isin(["final_mean", "bwt"])
        & compared["strategy"].isin(SLIDES)
    ]
    ours = final.pivot(
        index=["strategy", "method"], columns=["quantity", "metric"], values="value"
    )
    columns = [(q, m) for q in ("final_mean", "bwt") for m in COMPARED]
    ours = ours.reindex(columns=columns).set_axis(slides.columns[1:], axis=1)
    order = [
        (s, m)
        for s in SLIDES
        for m in compared.loc[compared["strategy"] == s, "method"].unique()
    ]
    theirs = slides.set_index("method").reindex(
        [SLIDES[strategy] for strategy, _ in order]
    )
    index = pd.Index(
        [f"{SLIDES[strategy]}: {method}" for strategy, method in order],
        name="slides: ours",
    )
    return pd.concat(
        {"ours": ours.loc[order].set_axis(index), "slides": theirs.set_axis(index)},
        axis=1,
    )


def _cell(row: Any, digits: int) -> str:
    if row.quantity == "kept_bytes":
        return f"{row.value:,.0f}"
    if row.quantity in COSTS:
        return f"{row.value:.2f}"
    interval = (
        "" if np.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    )
    return f"{row.value:.{digits}f}{interval}"
