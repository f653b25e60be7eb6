"""Verdict on a run, in a word and a sentence."""

__all__ = ["verdict"]

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.intervals import Interval, interval_of
from analysis.ledger.attribution import TERMS, Verdict, judge
from analysis.ledger.conclude import ledger_shares, ledger_terms
from analysis.recovery.conclude import recovery_changes, savings
from analysis.rows import alike, matching
from analysis.words import counted

# What training told -> its words.
TRAINING = {
    "regained": "few training steps gave back",
    "saved": "ahead of a model that never learned by",
}


@alike
def verdict(
    measured: pd.DataFrame,
    recovered: pd.DataFrame | None = None,
    *,
    task: int | None = None,
    part: str = "product",
    given: str = "category",
    family: str = "full",
) -> Verdict:
    """Verdict on earlier tasks, in a word and a sentence.

    The sentence holds the numbers behind it.

    Args:
        measured: A table of `ledger`, of one strategy.
        recovered: A table of `recovery` with the probes `forgotten` and
            `never_learned`: whether training tells more than a refit. It is of the
            first task, at its latest step.
        task: Which task; all earlier ones together by default.
        part: Score part.
        given: `"category"` or `"None"`.
        family: The refit that alignment means.

    Raises:
        ValueError: Several strategies, or nothing measured of what is asked.
    """
    rows = matching(
        measured,
        part=part,
        given=given,
    )
    if task is not None:
        rows = matching(rows, task=task)
    if rows["strategy"].nunique() != 1:
        found = ", ".join(rows["strategy"].unique()) or "no rows"
        raise ValueError(
            f"Expected a ledger of one strategy with task={task}, part={part!r}, "
            f"given={given!r}; got {found}."
        )
    split = ledger_terms(
        rows,
        family=family,
        by="all",
    )
    terms = {row.term: interval_of(row) for row in split.itertuples()}
    (shares,) = ledger_shares(
        rows,
        family=family,
        by="all",
    ).itertuples()
    share = interval_of(shares, "spurious_share", prefix="spurious_share_")
    training = {} if recovered is None else _training(recovered)
    judged = judge(
        terms["drop"],
        share,
        without_refit=interval_of(shares, "without_refit", prefix="without_refit_"),
        beyond=terms["beyond"],
        **training,
    )
    what = "the earlier tasks" if task is None else f"task {counted(task)}"
    numbers = [_drop(what, terms), *_refits(terms, share), *_regained(training)]
    opening = f"{judged.name.capitalize()}: {judged.because}"
    return judged._replace(sentence=f"{opening}. {'; '.join(numbers)}.")


def _training(recovered: pd.DataFrame) -> dict[str, Interval]:
    """The `TRAINING` of a table of `recovery`, as far as it was measured."""
    last = matching(recovered, step=recovered["step"].max())
    changes = recovery_changes(last)
    found = {}
    for row in matching(
        changes,
        probe="forgotten",
        task=0,
    ).itertuples():
        found["regained"] = interval_of(row, "change")
    for row in savings(last, versus=("never_learned",)).itertuples():
        found["saved"] = interval_of(row, "savings")
    return found


def _drop(what: str, terms: Mapping[str, Interval]) -> str:
    learned = terms["learned"].value
    final = terms["final"].value
    split = ", ".join(f"{name} {terms[name]!r}" for name in TERMS)
    return (
        f"Image AUROC of {what} fell by {terms['drop']!r}, "
        f"from {learned:.3f} to {final:.3f}; of that, {split}"
    )


def _refits(terms: Mapping[str, Interval], share: Interval) -> list[str]:
    sentences = [
        f"the refit exceeds that of a flow that learned nothing by {terms['beyond']!r}"
    ]
    # Of no drop there is no share.
    if np.isfinite(share.value):
        sentences.insert(0, f"the spurious share is {share!r}")
    return sentences


def _regained(training: Mapping[str, Interval]) -> list[str]:
    return [
        f"{TRAINING[key]} {value!r} (first task)" for key, value in training.items()
    ]
