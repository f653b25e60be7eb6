"""Conclusions from a forgetting ledger: the terms of a drop, and who caused it."""

__all__ = [
    "ledger_families",
    "ledger_shapley",
    "ledger_shares",
    "ledger_terms",
    "term_samples",
    "transplant_levels",
]

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.contrasts import defined, resampled, sample_interval
from analysis.intervals import Interval, Resampling
from analysis.ledger.attribution import (
    PLAYERS,
    State,
    ledger_split,
    ledger_states,
    shapley,
    spurious_share,
)
from analysis.rows import alike, chosen, matching

BY = {
    "task": ["task"],
    "category": ["task", "category"],
    "all": [],
}
KEYS = ["strategy", "step", "given", "part"]
# Estimate, then resamples of it (1 + n_resamples,).
Samples = np.ndarray
UNKNOWN = Interval(np.nan, np.nan, np.nan)


@alike
def ledger_terms(
    measured: pd.DataFrame,
    *,
    family: str = "full",
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Split the drop of image AUROC into terms, with paired bootstrap intervals.

    How to read it: `learned` − `final` = `drop` = the sum of the four, to the last
    digit. `confusion` comes back when later classes leave the competition, `center
    drift` with the old centers, `alignment` with centers refitted to the new flow (less
    what the same refit does to the old one), the `residual` with none of these.
    `beyond` is how far that refit exceeds the one of a flow that learned nothing: at 0
    or below, the refit taught and did not remind.

    Args:
        measured: A table of `ledger`; means over runs of one strategy.
        family: The refit that alignment means.
        by: `"task"`, `"category"`, or `"all"` (a mean over all earlier tasks).
        resampling: Of the test images.

    Returns:
        One row per `strategy step given part` and task or category, and `term`: `value
        low high`.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> terms = ledger_terms(measure_ledger(run), by="all")
        >>> value = terms.query("part == 'product'").set_index("term")["value"]
        >>> four = ["confusion", "center drift", "alignment", "residual"]
        >>> bool(abs(value[four].sum() - value["drop"]) < 1e-12)
        True
    """
    out = []
    for key, terms in term_samples(measured, family, by, resampling):
        for term, samples in terms.items():
            interval = sample_interval(samples, resampling)
            out.append((*key, term, *interval))
    columns = [*_keys(measured, by), "term", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


@alike
def ledger_shares(
    measured: pd.DataFrame,
    *,
    family: str = "full",
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Spurious share of the drop: gone when centers and competitors are set right.

    How to read it: `spurious_share` is an upper bound on what the flow kept, since a
    refit also teaches. A lower bound is `reminded_share`, which counts of the refit
    only what lies above that of a flow that learned nothing. Between the two, the
    measurement cannot tell. NaN where the interval of the drop holds 0: of nothing
    there is no share.

    The arguments are those of `ledger_terms`.

    Returns:
        One row per group: `drop low high`, and of `spurious_share`, `reminded_share`
        and `without_refit` (confusion and center drift alone) the value, `_low` and
        `_high`.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> ledger_shares(measure_ledger(run))["part"].tolist()
        ['logp', 'entropy', 'product']
    """
    kinds = {
        "spurious_share": "alignment",
        "reminded_share": "reminded",
        "without_refit": None,
    }
    columns = [*_keys(measured, by), "drop", "low", "high"]
    for kind in kinds:
        columns += [kind, f"{kind}_low", f"{kind}_high"]
    out = []
    for key, terms in term_samples(measured, family, by, resampling):
        drop = sample_interval(terms["drop"], resampling)
        row = [*key, *drop]
        for alignment in kinds.values():
            share = UNKNOWN
            if drop.low > 0:
                samples = spurious_share(terms, alignment=alignment)
                share = sample_interval(samples, resampling)
            row += share
        out.append(row)
    return pd.DataFrame(out, columns=columns)


@alike
def ledger_shapley(
    measured: pd.DataFrame,
    *,
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Contributions of new flow, centers and competitors to the drop.

    They are averaged over the order of their arrival.

    How to read it: the three add up to the drop. Unlike the terms of the ledger they
    favour no order, but they ask another question: the flow's value holds what a refit
    would bring back.

    Args:
        measured: A table of `ledger`; the other arguments are those of `ledger_terms`.

    Returns:
        One row per group and `player` (`flow`, `centers`, `mask`): `value low high`; a
        positive value is a loss.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> sorted(set(ledger_shapley(measure_ledger(run))["player"]))
        ['centers', 'flow', 'mask']
    """
    out = []
    for key, states in _groups(measured, by, resampling):
        coalitions = {
            _newcomers(state): samples
            for state, samples in states.items()
            if set(state) <= {"old", "new"}
        }
        for player, samples in shapley(coalitions).items():
            interval = sample_interval(-samples, resampling)
            out.append((*key, player, *interval))
    columns = [*_keys(measured, by), "player", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


@alike
def ledger_families(
    measured: pd.DataFrame,
    *,
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Recovery by each family of refits, beside that of old and untrained flows.

    How to read it: where `new` stops rising names the drift: a shift (`means`), a
    change of shape (`offsets`), of scale (`diagonal`) or of correlation (`full`), or an
    affine map of the shape as it was (`affine`). `old` is the ceiling; above
    `untrained` the new flow kept something.

    The arguments are those of `ledger_shapley`.

    Returns:
        One row per group, `family` (`none` is the old centers, not refitted) and
        `flow`: `value low high`.

    Example:
        >>> from analysis.ledger import measure_ledger
        >>> ledger_families(measure_ledger(run))["family"].unique().tolist()
        ['none', 'means', 'offsets', 'diagonal', 'full', 'affine']
    """
    out = []
    for key, states in _groups(measured, by, resampling):
        for (flow, centers, mask), samples in states.items():
            if mask == "old" and centers != "new":
                family = "none" if centers == "old" else centers
                interval = sample_interval(samples, resampling)
                out.append((*key, family, flow, *interval))
    columns = [*_keys(measured, by), "family", "flow", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


@alike
def transplant_levels(
    hybrids: pd.DataFrame,
    *,
    task: int | None = None,
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Mean image AUROC of each hybrid of old and new blocks, with its interval.

    Args:
        hybrids: A table of `transplant`; means over runs of one strategy.
        task: Its index; a mean over all tasks by default.
        resampling: Of the test images.

    Returns:
        One row per `strategy step part side centers blocks`: `value low high`.

    Example:
        >>> from analysis.ledger import transplant
        >>> transplant_levels(transplant(run))["blocks"].unique().tolist()
        [0, 1, 2]
    """
    rows = hybrids if task is None else chosen(hybrids, task=task)
    rows = defined(chosen(rows, metric="image_auroc"))
    samples = resampled(rows, resampling)
    keys = ["strategy", "step", "part", "side", "centers", "blocks"]
    groups = rows.groupby(keys, sort=False)
    out = [
        (*key, *sample_interval(samples[one.index].mean(0), resampling))
        for key, one in groups
    ]
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high"])


# ---- shared


@alike
def term_samples(
    measured: pd.DataFrame, family: str, by: str, resampling: Resampling
) -> Iterator[tuple[tuple, dict[str, Samples]]]:
    """Terms of a ledger with their resamples, group by group.

    The arguments are those of `ledger_terms`.

    Yields:
        The key of a group, and per term its estimate and resamples (1 + n_resamples,).
    """
    for key, states in _groups(measured, by, resampling):
        named = _named(states, family)
        reached = {"learned": named["learned"], "final": named["final"]}
        yield key, {**reached, **ledger_split(named)}


def _groups(
    measured: pd.DataFrame,
    by: str,
    resampling: Resampling,
) -> Iterator[tuple[tuple, dict[State, Samples]]]:
    """Mean AUROC in each state and in resamples of the images, group by group."""
    rows = defined(matching(measured, metric="image_auroc"))
    samples = resampled(rows, resampling)
    groups: Any = rows.groupby(_keys(measured, by), sort=False)
    for key, group in groups:
        states: Any = group.groupby(["flow", "centers", "mask"], sort=False)
        yield key, {state: samples[one.index].mean(0) for state, one in states}


def _named(states: Mapping[State, Samples], family: str) -> dict[str, Samples]:
    wanted = ledger_states(family)
    missing = [name for name, state in wanted.items() if state not in states]
    if missing:
        families = sorted({centers for _, centers, _ in states} - {"old", "new"})
        known = ", ".join(families)
        raise ValueError(
            f"Expected a ledger with the family {family!r}; there are: {known}."
        )
    return {name: states[state] for name, state in wanted.items()}


def _newcomers(state: State) -> frozenset[str]:
    """The players of a state that are new."""
    whose = zip(PLAYERS, state)
    return frozenset(player for player, side in whose if side == "new")


def _keys(measured: pd.DataFrame, by: str) -> list[str]:
    """The columns that tell groups apart."""
    if by not in BY:
        raise ValueError(f"Expected by to be one of {', '.join(BY)}; got {by!r}.")
    planted = ["illness"] if "illness" in measured else []
    return [*KEYS, *planted, *BY[by]]
