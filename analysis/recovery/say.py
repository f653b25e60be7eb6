"""Recovery in sentences."""

__all__ = ["summarise_few_steps", "summarise_recovery"]

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.intervals import Interval, interval_of
from analysis.recovery.conclude import at_rate, recovery_changes, savings
from analysis.rows import alike, matching, of_tables
from analysis.words import counted


@alike
def summarise_recovery(
    recovered: pd.DataFrame,
    *,
    update: str = "both",
    shots: int | None = None,
    lr: float | None = None,
) -> str:
    """Paragraph on whether the first task came back, and by more than teaching.

    There is one per starting step.

    Args:
        recovered: A table of `recovery` with the probe `forgotten`.
        update: Which of its updates.
        shots: Images per category; the most there are by default.
        lr: Learning rate; the highest there is by default.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> print(summarise_recovery(measure_recovery(run, steps=(0, 1, 3))))
        After task 2, 3 steps at a rate of ...
    """
    rows = at_rate(recovered, lr)
    rows = rows[rows["update"].isin(["none", update])]
    n = rows["shots"].max() if shots is None else shots
    rows = rows[rows["shots"].isin([0, n])]
    changes = recovery_changes(rows)
    ahead = savings(rows)
    paragraphs = []
    for step in rows["step"].unique():
        moved = {
            (row.probe, row.task): row
            for row in matching(changes, step=step).itertuples()
        }
        sentences = [
            _regained(matching(rows, step=step), moved["forgotten", 0], n),
            *_ahead(matching(ahead, step=step)),
            *_others(moved, step),
        ]
        paragraphs.append("; ".join(sentences) + ".")
    return "\n\n".join(paragraphs)


@of_tables
def summarise_few_steps(meanings: Mapping[str, int], rates: Mapping[str, float]) -> str:
    """Sentence on which optimizer steps, at which rate, the slides' one step would be.

    Args:
        meanings: Of `step_meanings`.
        rates: Of `step_rates`.

    Example:
        >>> from analysis.recovery import step_meanings, step_rates
        >>> print(summarise_few_steps(step_meanings(run, shots=5), step_rates(run)))
        The slides' one step would here be so many optimizer steps: ...
    """
    steps = ", ".join(f"{n} where it is a {name}" for name, n in meanings.items())
    named = ", ".join(f"{rate:.2g} ({name})" for name, rate in rates.items())
    return (
        f"The slides' one step would here be so many optimizer steps: {steps}. They "
        f"do not say at which rate; this run's own schedule has {named}."
    )


def _regained(
    rows: pd.DataFrame,
    own: Any,
    shots: int,
) -> str:
    learned = matching(
        rows,
        probe="learned",
        metric="image_auroc",
    )["value"].mean()
    return (
        f"After task {counted(own.step)}, {rows['n_steps'].max()} steps at a rate of "
        f"{own.lr:.2g} on {shots} "
        "normal images of each category of task 1 changed its mean image AUROC "
        f"by {interval_of(own, 'change')!r}, from {own.start:.3f} to {own.end:.3f} "
        f"(just learned: {learned:.3f})"
    )


def _ahead(rows: pd.DataFrame) -> Iterator[str]:
    """Lead over a model that learned other tasks only, and over a new one."""
    leads = {row.versus: row for row in rows.itertuples()}
    if "never_learned" not in leads:
        return
    row = leads["never_learned"]
    lead = interval_of(row, "savings")
    words = (
        f"over the curve it is {lead!r} ahead of a model that never learned task 1 "
        f"({row.start:.3f} before the first step)"
    )
    if "untrained" not in leads:
        yield f"{words}, {_reading(lead)}"
        return
    new = interval_of(leads["untrained"], "savings")
    yield f"{words} and {new!r} ahead of an untrained one, {_reading(lead, new)}"


def _others(moved: Mapping[tuple[str, int], Any], step: int) -> Iterator[str]:
    """Changes of what the steps did not train on, and of steps on the newest task."""
    task = f"task {counted(step)}"
    words = {
        ("held_out", 0): "a category of task 1 kept out of the steps changed by",
        ("sham", 0): f"as many steps on images of {task} instead changed task 1 by",
        ("forgotten", step): f"in return, {task} changed by",
    }
    for key in words:
        if key in moved:
            yield f"{words[key]} {interval_of(moved[key], 'change')!r}"


def _reading(interval: Interval, new: Interval | None = None) -> str:
    if interval.low > 0 and new is not None and new.low <= 0:
        return (
            "more than the same steps teach a model of other tasks, but no more than "
            "they teach a new one: the lead need not be memory"
        )
    if interval.low > 0:
        return "more than the same steps teach: something was kept"
    if interval.high < 0:
        return "less than the same steps teach a model that never knew it"
    return (
        "an interval that holds 0: these test images do not tell reminding from "
        "teaching"
    )
