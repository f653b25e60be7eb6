"""The verdict in one sentence."""

__all__ = ["sentence_of"]

from typing import Any

import pandas as pd

from analysis.intervals import interval_of
from analysis.judgement.rule import SURE
from analysis.rows import alike, chosen, refuse_strategies
from analysis.words import counted

# Witness -> what it did to bring the task back.
DEEDS = {
    "old centers": "its old centers alone bring back {kept:.0%} of it",
    "refit": "refitted centers bring back {kept:.0%} of it, "
    "beyond what they teach an untrained flow",
    "training": "training brings {kept:.0%} of it back sooner than it teaches",
}


@alike
def sentence_of(found: pd.DataFrame, evidence: pd.DataFrame, *, task: int = 0) -> str:
    """Sentence of at most 25 words: the verdict on a task, and why.

    Args:
        found: Of `verdicts`, of one strategy.
        evidence: Of `evidence`, of the same tables.
        task: Its index.

    Example:
        >>> from analysis.judgement import evidence, verdicts
        >>> from analysis.ledger import measure_ledger
        >>> measured = measure_ledger(run)
        >>> len(sentence_of(verdicts(measured), evidence(measured)).split()) <= 25
        True
    """
    refuse_strategies(found)
    (row,) = chosen(found, task=task).itertuples()
    witnesses = chosen(evidence, task=task).set_index("witness")
    drop = interval_of(row, "drop")
    moved = "rose" if drop.high < 0 else "fell"
    opening = f"Task {counted(task)} {moved} by {abs(drop.value):.3f}"
    return f"{opening} and is {row.verdict}: {_reason(row, witnesses)}."


def _reason(row: Any, witnesses: pd.DataFrame) -> str:
    if row.high < 0:
        return "there is nothing to explain"
    if not row.low > 0:
        drop = interval_of(row, "drop")
        return f"the interval [{drop.low:.3f}, {drop.high:.3f}] of the drop holds 0"
    if row.verdict == "undetermined":
        return (
            f"{row.leans} in {row.sure:.0%} of resamples, where {SURE:.0%} are needed"
        )
    others = witnesses.drop(index="competition")
    competition = witnesses["kept"].clip(0, 1)["competition"]
    strongest = others["kept"].idxmax()
    kept = min(others["kept"].max(), 1.0)
    back = min(others["back"].max(), 1.0)
    how = "sooner" if "training" in others.index else "more"
    nothing = "no refit brings back half of it; no training was tried"
    if "training" in others.index:
        nothing = "neither refit nor training brings back half of it"
    return {
        "confused": f"without later classes {competition:.0%} of it is gone",
        "reminded": DEEDS[strongest].format(kept=kept),
        "mixed": f"competition explains {competition:.0%} of it, "
        f"and {kept:.0%} was kept",
        "relearned": f"{back:.0%} of it comes back, but no {how} than in a model that "
        "never knew it",
        "lost": nothing,
    }[row.verdict]
