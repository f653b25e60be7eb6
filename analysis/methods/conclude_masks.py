"""Conclusions on sub-networks: what was done to them beside what was forgotten."""

__all__ = ["subnetworks_beside"]

import pandas as pd

from analysis.rows import chosen, first_and_last, of_tables

AT_LAST = ("displacement", "touched", "biases", "centers")


@of_tables
def subnetworks_beside(
    measured: pd.DataFrame,
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str | None = "category",
) -> pd.DataFrame:
    """What later tasks did to a task's weights, beside the AUROC that went.

    How to read it: a drop with displacement is what others trained away; a drop without
    it is the centers', the biases' or the score's.

    Args:
        measured: Of `measure_subnetworks`, of any number of methods and seeds.
        evaluated: Of `evaluate`, of the same runs.
        metric: Of the AUROC.
        part: Score part.
        given: `"category"` or None.

    Returns:
        One row per `method strategy seed task` but for a run's last: `overlap`, a mean
        over the later tasks; `displacement touched biases centers` after the last one;
        `off_mask`, the largest of any; and the metric `learned`, `final`, and `drop`.

    Example:
        >>> from analysis import evaluate
        >>> from analysis.methods import measure_subnetworks
        >>> beside = subnetworks_beside(measure_subnetworks(run), evaluate(run))
        >>> beside["overlap"].tolist()
        [1.0]
    """
    keys = ["run", "task"]
    wide = measured.pivot_table(
        index=[*keys, "step"], columns="quantity", values="value"
    )
    later = wide.dropna(subset="overlap").groupby(level=keys)
    found = later[list(AT_LAST)].last()
    found["overlap"] = later["overlap"].mean()
    found["off_mask"] = later["off_mask"].max()
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    ends = first_and_last(rows).pivot_table(index=keys, columns="when", values="value")
    found = found.join(ends.rename(columns={"learnt": "learned", "last": "final"}))
    found["drop"] = found["learned"] - found["final"]
    facts = measured[["run", "method", "strategy", "seed"]].drop_duplicates()
    first = ["method", "strategy", "seed", "task"]
    out = found.reset_index().merge(facts, on="run", sort=False)
    order = {name: i for i, name in enumerate(facts["run"])}
    out = out.sort_values("run", key=lambda runs: runs.map(order), kind="stable")
    columns = ["overlap", *AT_LAST, "off_mask", "learned", "final", "drop"]
    return out[[*first, *columns]].reset_index(drop=True)
