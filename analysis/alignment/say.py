"""Alignment in sentences."""

__all__ = ["summarise_alignment"]

from typing import Any

import numpy as np
import pandas as pd

from analysis.alignment.conclude import without_old_images
from analysis.intervals import Interval, interval_of
from analysis.rows import alike, matching
from analysis.words import label_of


@alike
def summarise_alignment(table: pd.DataFrame) -> str:
    """Paragraph on what post-hoc alignment gives back, and why it stops there.

    It also says how far the joint model is.

    Args:
        table: Of `alignment_table`.

    Example:
        >>> from analysis.alignment import alignment_table, measure_alignment
        >>> aligned = measure_alignment(run, aligner=("sdc", "refit"))
        >>> print(summarise_alignment(alignment_table(aligned)))
        On the old tasks the fine-tuned run has an image AUROC of ...
    """
    fine = matching(table, strategy="finetune")
    at = {(row.aligner, row.head): row for row in fine.itertuples()}
    wanted = [("none", ""), ("joint", ""), ("refit", "means"), ("refit", "full")]
    if not set(wanted) <= set(at):
        raise ValueError(
            "Expected rows of none, joint and refit under both heads of finetune; got "
            "a table without."
        )
    none, joint, means, full = (at[key] for key in wanted)
    sentences = [
        f"On the old tasks the fine-tuned run has an image AUROC of {_level(none)}, "
        f"the joint model {_level(joint)}",
        f"a refit of means alone to all images gives {_level(means)}, "
        f"of means and covariances {_level(full)}",
        _reading(none, means, full),
    ]
    free = without_old_images(fine)
    sentences += map(_best, free.head(1).itertuples())
    trained = table[table["strategy"] != "finetune"]
    sentences += map(_trained, matching(trained, aligner="none").itertuples())
    return "; ".join(sentences) + "."


def _best(row: Any) -> str:
    share = interval_of(row, "share", prefix="share_")
    way = "" if np.isnan(share.value) else f"{share!r} of the way to the refit, "
    return (
        f"without old images the best aligner is {label_of(row.aligner)} "
        f"({label_of(row.head, column='head')}), "
        f"{_level(row)}, {way}{_gap(row)} from the joint model"
    )


def _trained(row: Any) -> str:
    return f"trained with {label_of(row.strategy)}: {_level(row)}, {_gap(row)} from it"


def _level(row: Any) -> Interval:
    return interval_of(row, "image_auroc")


def _gap(row: Any) -> Interval:
    return interval_of(row, "gap", prefix="gap_")


def _reading(
    none: Any,
    means: Any,
    full: Any,
) -> str:
    """Decision by the intervals of the distance to the joint model."""
    if none.gap_high >= 0:
        return (
            "so there is no loss to attribute: the joint model is not better beyond "
            "the interval"
        )
    if means.gap_high >= 0:
        return "so the centers alone are the culprit, as far as these test images tell"
    if full.gap_high >= 0:
        return "so means and covariances together are misaligned, and no more than that"
    return (
        "so even a mixture fitted to all images does not make good what the flow lost: "
        "some of it is forgotten"
    )
