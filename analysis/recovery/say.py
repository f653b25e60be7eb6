"""Recovery in sentences."""

__all__ = ["summarise_recovery"]


from typing import Any

import pandas as pd

from analysis.intervals import Interval
from analysis.recovery.conclude import recovery_changes, savings


def summarise_recovery(
    recovered: pd.DataFrame, *, update: str = "both", shots: int | None = None
) -> str:
    """Paragraph on whether the first task came back.

    One per starting step; and whether that is more than teaching.

    Args:
        recovered: A table of `recovery` with the probe `forgotten`.
        update: Which of its updates.
        shots: Images per category; the most there are by default.
    """
    chosen = recovered[
        (recovered["update"] == update) | (recovered["probe"] == "learned")
    ]
    n = chosen["shots"].max() if shots is None else shots
    chosen = chosen[chosen["shots"].isin([0, n])]
    changes = recovery_changes(chosen)
    ahead = savings(chosen)
    return "\n\n".join(
        _verdict(chosen[chosen["step"] == step], changes, ahead, n)
        for step in chosen["step"].unique()
    )


def _verdict(
    rows: pd.DataFrame, changes: pd.DataFrame, ahead: pd.DataFrame, shots: int
) -> str:
    step = rows["step"].iloc[0]
    n_steps = rows["n_steps"].max()
    moved = {
        (row.probe, row.task): row
        for row in changes[changes["step"] == step].itertuples()
    }
    learned = rows.loc[
        (rows["probe"] == "learned") & (rows["metric"] == "image_auroc"), "value"
    ].mean()
    own = moved["forgotten", 0]
    sentences = [
        f"After task {step + 1}, {n_steps} steps on {shots} normal images of each "
        "category of task 1 changed its mean "
        f"image AUROC by {_change(own)}, from {own.start:.3f} to {own.end:.3f} (just "
        f"learnt: {learned:.3f})"
    ]
    for row in ahead[
        (ahead["step"] == step) & (ahead["versus"] == "never_learned")
    ].itertuples():
        interval = Interval(row.savings, row.low, row.high)
        sentences.append(
            f"over the curve it is {interval!r} ahead of a model that never learned "
            f"task 1 ({row.start:.3f} before the "
            f"first step), {_reading(interval)}"
        )
    others = {
        ("held_out", 0): "a category of task 1 kept out of the steps changed by",
        (
            "sham",
            0,
        ): f"as many steps on images of task {step + 1} instead changed task 1 by",
        ("forgotten", step): f"in return, task {step + 1} changed by",
    }
    sentences += [
        f"{words} {_change(moved[key])}"
        for key, words in others.items()
        if key in moved
    ]
    return "; ".join(sentences) + "."


def _change(row: Any) -> str:
    return repr(Interval(row.change, row.low, row.high))


def _reading(interval: Interval) -> str:
    if interval.low > 0:
        return "more than the same steps teach: something was kept"
    if interval.high < 0:
        return "less than the same steps teach a model that never knew it"
    return (
        "an interval that holds 0: these test images do not tell reminding from "
        "teaching"
    )
