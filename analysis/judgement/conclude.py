"""Conclusions from all witnesses: shares of a drop, and the verdict on it."""

__all__ = ["SILENT", "WITNESSES", "evidence", "first_step_shares", "verdicts"]

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.contrasts import resampled
from analysis.intervals import Interval, Resampling, percentile_interval
from analysis.judgement.rule import SURE, words_of
from analysis.ledger.conclude import term_samples
from analysis.recovery.conclude import at_rate, training_samples
from analysis.rows import alike, chosen, matching

# Witness -> what was tried to bring the task back.
WITNESSES = {
    "competition": "later classes no longer compete",
    "old centers": "the old centers are put back under the new flow",
    "refit": "centers are refitted to the new flow",
    "training": "a few training steps on a few images",
}
# These can only speak for a cause: that they find nothing speaks against no other.
CAUSES = ("competition", "old centers")
SILENT = "silent"


class Share(NamedTuple):
    """Of a drop, with resamples (1 + n_resamples,): what comes back, what was kept."""

    back: np.ndarray
    kept: np.ndarray


class Case(NamedTuple):
    """All that is known of a task: its drop, and what each witness brings back."""

    drop: np.ndarray
    shares: Mapping[str, Share]

    def words(self) -> np.ndarray:
        """The rule's word for the estimate and for each resample."""
        others = [s for name, s in self.shares.items() if name != "competition"]
        return words_of(
            self.drop,
            confusion=self.shares["competition"].kept,
            kept=np.max([share.kept for share in others], axis=0),
            back=np.max([share.back for share in others], axis=0),
        )

    def word_of(self, witness: str) -> str:
        """The rule's word if this witness alone were heard."""
        back, kept = (values[0] for values in self.shares[witness])
        is_competition = witness == "competition"
        word = words_of(
            self.drop[0],
            confusion=kept if is_competition else 0.0,
            kept=0.0 if is_competition else kept,
            back=back,
        ).item()
        return SILENT if witness in CAUSES and word in ("lost", "relearned") else word


@alike
def evidence(
    measured: pd.DataFrame,
    recovered: pd.DataFrame | None = None,
    *,
    part: str = "product",
    given: str = "category",
    family: str = "full",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """What each witness brings back of a drop, and what of it was kept.

    How to read it: `back` is the share of the drop that a witness brings back, `kept`
    the part of it beyond what the same does to a flow that learned nothing (`refit`),
    or sooner than in a model that never learned the task (`training`, less what the
    competition explains already). `says` is the verdict if this witness alone were
    heard; `silent` is one that found nothing and whose silence proves nothing.

    Args:
        measured: A table of `ledger`; means over runs of one strategy.
        recovered: A table of `recovery` with the probe `forgotten` and a control, of
            the same runs: the witness `training`, heard on the first task at the same
            step.
        part: Score part.
        given: `"category"` or `"None"`.
        family: The refit that is meant.
        resampling: Of the test images.

    Returns:
        One row per `strategy step task witness`: `back` and `kept` with their `_low`
        and `_high`, and `says`.
    """
    out = []
    cases = _cases(measured, recovered, part, given, family, resampling)
    for key, case in cases:
        for witness, share in case.shares.items():
            back, kept = (_interval(values, resampling) for values in share)
            out.append((*key, witness, *back, *kept, case.word_of(witness)))
    values = [f"{name}{end}" for name in Share._fields for end in ("", "_low", "_high")]
    return pd.DataFrame(out, columns=[*_keys(measured), "witness", *values, "says"])


@alike
def verdicts(
    measured: pd.DataFrame,
    recovered: pd.DataFrame | None = None,
    *,
    part: str = "product",
    given: str = "category",
    family: str = "full",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Verdict on each earlier task, with how sure it is and who agrees.

    The rule is that of `words_of`. A word is said if the drop lies above 0 with its
    interval, and if the word holds in four of five resamples of the test images;
    otherwise the verdict is `undetermined`, and `leans` is the word that came closest.

    The arguments are those of `evidence`.

    Returns:
        One row per `strategy step task`: `verdict`, `sure` (share of the resamples in
        which the rule says `leans`), `leans`, `drop low high`, and the witnesses that
        `agree` with what it leans to, and `disagree`.
    """
    out = []
    cases = _cases(measured, recovered, part, given, family, resampling)
    for key, case in cases:
        drop = _interval(case.drop, resampling)
        words = case.words()
        leans = str(words[0])
        sure = float((words[1:] == leans).mean())
        is_said = drop.low > 0 and sure >= SURE
        said = {name: case.word_of(name) for name in case.shares}
        agree = [name for name, word in said.items() if word == leans]
        others = [n for n, word in said.items() if word not in (leans, SILENT)]
        verdict = leans if is_said else "undetermined"
        row = (verdict, sure, leans, *drop, ", ".join(agree), ", ".join(others))
        out.append((*key, *row))
    columns = ["verdict", "sure", "leans", "drop", "low", "high", "agree", "disagree"]
    return pd.DataFrame(out, columns=[*_keys(measured), *columns])


@alike
def first_step_shares(
    measured: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """How much of a quick return the mixture carries, how much the flow, and both.

    How to read it: `mixture` is what the model of before gains by the centers of after,
    `flow` what it gains by the flow of after; `together` is what they gain only as a
    pair, so that the three add up to `return`. Where `mixture` is 0, the quick return
    does not go through the mixture.

    Args:
        measured: A table of `measure_first_steps`; means over categories and over runs
            of one strategy.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `strategy step n_steps term`: `value low high`, in image AUROC.
    """
    rows = chosen(measured, metric="image_auroc", part=part).reset_index(drop=True)
    samples = resampled(rows, resampling)
    out = []
    for key, one in rows.groupby(["strategy", "step", "n_steps"], sort=False):
        level = {
            pair: samples[group.index].mean(0)
            for pair, group in one.groupby(["flow", "mixture"], sort=False)
        }
        start = level["before", "before"]
        whole = level["after", "after"] - start
        mixture = level["before", "after"] - start
        flow = level["after", "before"] - start
        terms = {
            "return": whole,
            "mixture": mixture,
            "flow": flow,
            "together": whole - mixture - flow,
        }
        for term, values in terms.items():
            out.append((*key, term, *_interval(values, resampling)))
    columns = ["strategy", "step", "n_steps", "term", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


# ---- shared


def _cases(
    measured: pd.DataFrame,
    recovered: pd.DataFrame | None,
    part: str,
    given: str,
    family: str,
    resampling: Resampling,
) -> Iterator[tuple[tuple, Case]]:
    """Per strategy, step and task all that is known of it."""
    rows = chosen(measured, part=part, given=given)
    for key, terms in term_samples(rows, family, "task", resampling):
        strategy, step, _, _, *illness, task = key
        named = dict(zip(_keys(measured), (strategy, step, *illness, task)))
        case = _of_ledger(terms)
        if recovered is not None and task == 0:
            where = {name: named[name] for name in named if name != "task"}
            trained = matching(recovered, **where)
            case = _with_training(case, trained, part, resampling)
        yield tuple(named.values()), case


def _keys(measured: pd.DataFrame) -> list[str]:
    """The columns that tell cases apart."""
    planted = ["illness"] if "illness" in measured else []
    return ["strategy", "step", *planted, "task"]


def _of_ledger(terms: Mapping[str, np.ndarray]) -> Case:
    drop = terms["drop"]
    competition = _share(terms["confusion"], drop)
    centers = _share(terms["center drift"], drop)
    refit = Share(
        back=centers + _share(terms["alignment"], drop),
        kept=centers + _share(terms["reminded"], drop),
    )
    shares = {
        "competition": Share(competition, competition),
        "old centers": Share(centers, centers),
        "refit": refit,
    }
    return Case(drop, shares)


def _with_training(
    case: Case, trained: pd.DataFrame, part: str, resampling: Resampling
) -> Case:
    """The case with the witness `training`, on most images at the highest rate."""
    both = at_rate(trained[trained["update"].isin(["both", "none"])])
    most = both[both["shots"].isin([0, both["shots"].max()])]
    ((_, found),) = training_samples(most, part=part, resampling=resampling)
    drop = found["learned"] - found["final"]
    explained = case.shares["competition"].kept
    control = "never_learned" if "never_learned" in found else "untrained"
    share = Share(
        back=_share(found["regained"], drop) - explained,
        kept=_share(found[control], drop) - explained,
    )
    return Case(case.drop, {**case.shares, "training": share})


def _share(part: np.ndarray, drop: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(drop > 0, part / drop, np.nan)


def _interval(samples: np.ndarray, resampling: Resampling) -> Interval:
    finite = samples[1:][np.isfinite(samples[1:])]
    if not len(finite):
        return Interval(float(samples[0]), np.nan, np.nan)
    return percentile_interval(samples[0], finite, confidence=resampling.confidence)
