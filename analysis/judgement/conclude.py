"""Conclusions from all witnesses: shares of a drop, and the verdict on it."""

__all__ = [
    "SILENT",
    "WITNESSES",
    "evidence",
    "first_step_shares",
    "training_rows",
    "verdicts",
]

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.contrasts import defined, resampled, sample_interval
from analysis.intervals import Interval, Resampling
from analysis.judgement.rule import MOST, PART, SURE, words_of
from analysis.ledger.conclude import term_samples
from analysis.recovery.conclude import CONTROLS, at_rate, training_samples
from analysis.rows import alike, chosen, matching

# Witness -> what was tried to bring the task back.
WITNESSES = {
    "competition": "later classes no longer compete",
    "old centers": "the old centers are put back under the new flow",
    "refit": "centers are refitted to the new flow",
    "training": "a few training steps on a few images",
}
UNKNOWN = Interval(np.nan, np.nan, np.nan)
# These can only speak for a cause: that they find nothing speaks against no other.
CAUSES = ("competition", "old centers")
SILENT = "silent"
FIRST_STEPS = ["strategy", "step", "shots", "lr", "n_steps"]


class Share(NamedTuple):
    """Of a drop, with resamples (1 + n_resamples,): what comes back, what was kept."""

    back: np.ndarray
    kept: np.ndarray


class Case(NamedTuple):
    """All that is known of a task.

    Args:
        drop: How far it fell, with resamples (1 + n_resamples,).
        shares: Per witness what it brings back of that.
        control: Whom training was compared with; empty where none was tried.
    """

    drop: np.ndarray
    shares: Mapping[str, Share]
    control: str = ""

    @property
    def confusion(self) -> np.ndarray:
        return self.shares["competition"].kept

    def words(self) -> np.ndarray:
        """The rule's word for the estimate and for each resample."""
        others = [s for name, s in self.shares.items() if name != "competition"]
        return words_of(
            self.drop,
            confusion=self.confusion,
            kept=_most([share.kept for share in others]),
            back=_most([share.back for share in others]),
        )

    def word_of(self, witness: str) -> str:
        """The rule's word if this witness alone were heard.

        Witnesses other than the competition are asked about what that leaves: where it
        explains most, they have nothing to find.
        """
        back, kept = (values[0] for values in self.shares[witness])
        is_competition = witness == "competition"
        word = words_of(
            self.drop[0],
            confusion=kept if is_competition else 0.0,
            kept=0.0 if is_competition else kept,
            back=back,
        ).item()
        finds_nothing = word in ("lost", "relearned")
        is_out_of_reach = not is_competition and self.confusion[0] >= MOST
        is_mute = witness in CAUSES or is_out_of_reach or not np.isfinite(back + kept)
        return SILENT if finds_nothing and is_mute else word

    def sides(self, leans: str) -> tuple[list[str], list[str]]:
        """The witnesses that agree with a word, and those that do not."""
        if leans == "undetermined":
            return [], []
        said = {name: self.word_of(name) for name in self.shares}
        agree = [
            name
            for name, word in said.items()
            if word == leans or (leans == "mixed" and self.shares[name].kept[0] >= PART)
        ]
        others = [n for n, word in said.items() if word != SILENT and n not in agree]
        return agree, others


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
    heard; `silent` is one that found nothing and whose silence proves nothing. Where
    the interval of the drop holds 0 there are no shares, and nothing is said.

    Args:
        measured: A table of `ledger`; means over runs of one strategy.
        recovered: A table of `recovery` of the same runs, with the probe `forgotten`
            and a control (`never_learned`, else `untrained`), updating both: the
            witness `training`, heard on the first task at the same step, at the highest
            rate, and where scores are under the true class.
        part: Score part.
        given: `"category"` or `"None"`.
        family: The refit that is meant.
        resampling: Of the test images.

    Returns:
        One row per `strategy step task witness`: `back` and `kept` with their `_low`
        and `_high`, `says`, and the `control` that the witness is held against.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> evidence(measure_ledger(run))["witness"].tolist()
        ['competition', 'old centers', 'refit']
    """
    out = []
    cases = _cases(measured, recovered, part, given, family, resampling)
    for key, case in cases:
        is_drop = sample_interval(case.drop, resampling).low > 0
        for witness, share in case.shares.items():
            back, kept = (sample_interval(values, resampling) for values in share)
            row = (*back, *kept, case.word_of(witness))
            if not is_drop:
                row = (*UNKNOWN, *UNKNOWN, "undetermined")
            control = {"refit": "untrained", "training": case.control}.get(witness, "")
            out.append((*key, witness, *row, control))
    values = [f"{name}{end}" for name in Share._fields for end in ("", "_low", "_high")]
    columns = [*_keys(measured), "witness", *values, "says", "control"]
    return pd.DataFrame(out, columns=columns)


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
        which the rule says `leans`), `leans`, `drop low high`, the witnesses that
        `agree` with what it leans to, and `disagree`, and the `control` that training
        was held against.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> verdicts(measure_ledger(run))["task"].tolist()
        [0]
    """
    out = []
    cases = _cases(measured, recovered, part, given, family, resampling)
    for key, case in cases:
        drop = sample_interval(case.drop, resampling)
        words = case.words()
        leans = str(words[0])
        sure = float((words[1:] == leans).mean())
        is_said = drop.low > 0 and sure >= SURE
        agree, others = case.sides(leans)
        verdict = leans if is_said else "undetermined"
        sides = (", ".join(agree), ", ".join(others))
        row = (verdict, sure, leans, *drop, *sides, case.control)
        out.append((*key, *row))
    columns = ["verdict", "sure", "leans", "drop", "low", "high", "agree", "disagree"]
    columns += ["control"]
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
        One row per `strategy step shots lr n_steps term`: `value low high`, in image
        AUROC.

    Example:
        >>> from analysis.judgement import measure_first_steps
        >>> shares = first_step_shares(measure_first_steps(run, n_steps=(1, 3)))
        >>> sorted(set(shares["term"]))
        ['flow', 'mixture', 'return', 'together']
    """
    rows = defined(chosen(measured, metric="image_auroc", part=part))
    samples = resampled(rows, resampling)
    out = []
    for key, one in rows.groupby(FIRST_STEPS, sort=False):
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
            out.append((*key, term, *sample_interval(values, resampling)))
    columns = [*FIRST_STEPS, "term", "value", "low", "high"]
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
        if recovered is not None and task == 0 and given == "category":
            where = {name: named[name] for name in named if name != "task"}
            runs = set(rows["run"]) if "run" in rows else set()
            trained = training_rows(recovered, where, runs, part=part)
            case = _with_training(case, trained, part, resampling)
        yield tuple(named.values()), case


def _keys(measured: pd.DataFrame) -> list[str]:
    """The columns that tell cases apart."""
    planted = ["illness"] if "illness" in measured else []
    return ["strategy", "step", *planted, "task"]


def _of_ledger(terms: Mapping[str, np.ndarray]) -> Case:
    drop = terms["drop"]
    competition = _share(terms["confusion"], drop)
    # Where it helps that later classes compete, their absence is made up for first.
    owed = np.minimum(competition, 0.0)
    centers = _share(terms["center drift"], drop) + owed
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


@alike
def training_rows(
    recovered: pd.DataFrame,
    where: Mapping[str, object],
    runs: set[str],
    *,
    part: str,
) -> pd.DataFrame:
    """The rows of a recovery that speak for a case: both updated, on most images.

    Args:
        recovered: A table of `measure_recovery`.
        where: Values of the columns that tell cases apart.
        runs: Names of the runs that the case is of.
        part: Score part.

    Raises:
        ValueError: There are none, none of the part, no control beside them, or they
            are of other runs.
    """
    rows = matching(recovered, **where)
    asked = ", ".join(f"{name}={value!r}" for name, value in where.items())
    if "run" in rows and runs and set(rows["run"]) != runs:
        found = ", ".join(sorted(set(rows["run"]))) or "none"
        raise ValueError(
            f"Expected a recovery of {', '.join(sorted(runs))} with {asked}; got that "
            f"of {found}. Measure it with after=({where['step']},)."
        )
    rows = rows[rows["update"].isin(["both", "none"])]
    probes = set(rows["probe"])
    if "forgotten" not in probes or not probes & set(CONTROLS[:2]):
        raise ValueError(
            f"Expected a recovery with {asked}, update='both', and the probes "
            f"'forgotten' and {' or '.join(map(repr, CONTROLS[:2]))}; got "
            f"{', '.join(sorted(probes)) or 'no rows'}."
        )
    rows = at_rate(chosen(rows, part=part))
    return rows[rows["shots"].isin([0, rows["shots"].max()])]


def _with_training(
    case: Case, trained: pd.DataFrame, part: str, resampling: Resampling
) -> Case:
    """The case with the witness `training`."""
    ((_, found),) = training_samples(trained, part=part, resampling=resampling)
    drop = found["learned"] - found["final"]
    explained = np.maximum(case.confusion, 0.0)
    control = next(name for name in CONTROLS if name in found)
    share = Share(
        back=_share(found["regained"], drop) - explained,
        kept=_share(found[control], drop) - explained,
    )
    return Case(case.drop, {**case.shares, "training": share}, control)


def _share(part: np.ndarray, drop: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(drop > 0, part / drop, np.nan)


def _most(shares: Sequence[np.ndarray]) -> np.ndarray:
    """The largest of the shares that are known, resample by resample."""
    known = np.where(np.isfinite(shares), shares, -np.inf).max(axis=0)
    return np.where(np.isfinite(known), known, np.nan)
