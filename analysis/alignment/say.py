"""Alignment in sentences."""

__all__ = ["summarise_alignment"]

from typing import Any

import pandas as pd

from analysis.intervals import Interval


def summarise_alignment(table: pd.DataFrame) -> str:
    """Paragraph on what post-hoc alignment gives back.

    Why it stops there, and how far the joint model is.

    Args:
        table: Of `alignment_table`.
    """
    at = {(row.strategy, row.aligner, row.head): row for row in table.itertuples()}
    none, joint = (at.get(("finetune", name, "")) for name in ("none", "joint"))
    means, full = (at.get(("finetune", "refit", head)) for head in ("means", "full"))
    if none is None or joint is None or means is None or full is None:
        raise ValueError(
            "Expected rows of none, joint and refit under both heads of finetune; got "
            "a table without."
        )
    sentences = [
        f"On the old tasks the fine-tuned run has an image AUROC of {_level(none)}, "
        f"the joint model {_level(joint)}",
        f"refitting means alone on all images gives {_level(means)}, means and "
        f"covariances {_level(full)}",
        _reading(none, means, full),
    ]
    free = table[
        (table["strategy"] == "finetune")
        & ~table["aligner"].isin(["none", "joint", "refit", "exemplars"])
    ]
    if len(free):
        best = next(free.itertuples())
        sentences.append(
            f"without old images the best aligner is `{best.aligner}` ({best.head}), "
            f"{_level(best)}, "
            f"{_share(best)} and {Interval(best.gap, best.gap_low, best.gap_high)!r} "
            "from the joint model"
        )
    trained = table[table["strategy"] != "finetune"]
    sentences += [
        f"trained with `{row.strategy}`: {_level(row)}, "
        f"{Interval(row.gap, row.gap_low, row.gap_high)!r} from it"
        for row in trained[trained["aligner"] == "none"].itertuples()
    ]
    return "; ".join(sentences) + "."


def _level(row: Any) -> str:
    return repr(Interval(row.image_auroc, row.low, row.high))


def _share(row: Any) -> str:
    share = Interval(row.share, row.share_low, row.share_high)
    return f"{share!r} of the way to the oracle"


def _reading(none: Any, means: Any, full: Any) -> str:
    """The decision rule, on intervals of the distance to the joint model."""
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
