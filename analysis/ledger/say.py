"""Verdict on a run, in a word and a sentence."""

__all__ = ["reading_of_refits", "verdict"]

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.intervals import Interval, interval_of
from analysis.ledger.attribution import TERMS, Verdict, judge
from analysis.ledger.conclude import ledger_shares, ledger_terms
from analysis.recovery.conclude import at_rate, recovery_changes, savings
from analysis.rows import alike, chosen, matching
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
            first task, at its latest step and highest rate.
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


@alike
def reading_of_refits(
    terms: pd.DataFrame, *, part: str = "product", given: str = "category"
) -> str:
    """Headline of two lines on what refitted centers show of the flow.

    Args:
        terms: Of `ledger_terms`, by all tasks, of one strategy.
        part: Score part.
        given: `"category"` or `"None"`.
    """
    (row,) = chosen(terms, term="beyond", part=part, given=given).itertuples()
    beyond = interval_of(row)
    if beyond.low > 0:
        return (
            f"The new flow refits better than an untrained one,\nby {beyond!r}: "
            "it kept something"
        )
    ahead = f"An untrained flow refits as well (new one ahead by {beyond!r})"
    if beyond.high < 0:
        behind = Interval(-beyond.value, -beyond.high, -beyond.low)
        ahead = f"An untrained flow refits better, by {behind!r}"
    return f"{ahead}:\nwhat a refit gives back is no sign of what the flow kept"


def _training(recovered: pd.DataFrame) -> dict[str, Interval]:
    """The `TRAINING` of a table of `recovery`, as far as it was measured."""
    last = matching(at_rate(recovered), step=recovered["step"].max())
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
