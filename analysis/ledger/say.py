"""The verdict on a run, in a word and a sentence."""

__all__ = ["verdict"]

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.intervals import Interval
from analysis.ledger.attribution import Verdict, judge
from analysis.ledger.conclude import ledger_shares, ledger_terms
from analysis.recovery.conclude import recovery_changes, savings


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
    rows = measured[(measured["part"] == part) & (measured["given"] == given)]
    rows = rows if task is None else rows[rows["task"] == task]
    if rows["strategy"].nunique() != 1:
        found = ", ".join(rows["strategy"].unique()) or "no rows"
        raise ValueError(
            f"Expected a ledger of one strategy with task={task}, part={part!r}, "
            f"given={given!r}; got {found}."
        )
    split = ledger_terms(rows, family=family, by="all")
    terms = {
        row.term: Interval(row.value, row.low, row.high) for row in split.itertuples()
    }
    (shares,) = ledger_shares(rows, family=family, by="all").itertuples()
    share, alone = (
        Interval(*(getattr(shares, f"{kind}{end}") for end in ("", "_low", "_high")))
        for kind in ("spurious_share", "without_refit")
    )
    training = {} if recovered is None else _training(recovered)
    judged = judge(
        terms["drop"], share, without_refit=alone, beyond=terms["beyond"], **training
    )
    what = "the earlier tasks" if task is None else f"task {task + 1}"
    return judged._replace(sentence=_sentence(judged, what, terms, share, training))


def _training(recovered: pd.DataFrame) -> dict[str, Interval]:
    """Gain of the first task by few training steps.

    And how far ahead of a model that never learned.
    """
    last = recovered[recovered["step"] == recovered["step"].max()]
    changes = recovery_changes(last)
    ahead = savings(last, versus=("never_learned",))
    found = {}
    for row in changes[
        (changes["probe"] == "forgotten") & (changes["task"] == 0)
    ].itertuples():
        found["regained"] = Interval(row.change, row.low, row.high)
    for row in ahead.itertuples():
        found["saved"] = Interval(row.savings, row.low, row.high)
    return found


def _sentence(
    judged: Verdict,
    what: str,
    terms: Mapping[str, Interval],
    share: Interval,
    training: Mapping[str, Interval],
) -> str:
    parts = [
        f"{judged.name.capitalize()}: {judged.because}. Image AUROC of {what} fell by "
        f"{terms['drop']!r}, from "
        f"{terms['learned'].value:.3f} to {terms['final'].value:.3f}; of that, "
        + ", ".join(
            f"{name} {terms[name]!r}"
            for name in ("confusion", "center drift", "alignment", "residual")
        )
    ]
    if np.isfinite(share.value):
        parts.append(f"the spurious share is {share!r}")
    parts.append(
        f"the refit exceeds that of a flow that learnt nothing by {terms['beyond']!r}"
    )
    words = {
        "regained": "few training steps gave back",
        "saved": "ahead of a model that never learned by",
    }
    parts += [
        f"{words[name]} {interval!r} (first task)"
        for name, interval in training.items()
    ]
    return "; ".join(parts) + "."
