"""Conclusions from recovery curves.

How far each probe moves, and what the forgotten model had saved of the first task.
"""

__all__ = [
    "recovery_changes",
    "recovery_curves",
    "recovery_halves",
    "recovery_table",
    "savings",
]

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, resampled
from analysis.intervals import Resampling
from analysis.metrics import image_auroc

KEYS = ["step", "probe", "update", "shots"]


def recovery_curves(
    recovered: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Image AUROC after each number of steps, with its interval.

    A mean over a task's categories and over runs.

    Args:
        recovered: A table of `recovery`.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `step probe update shots task n_steps`: `value low high`.
    """
    rows, samples = image_counts(recovered, part, resampling)
    keys = [*KEYS, "task", "n_steps"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        weights = np.full(len(group), 1 / len(group))
        out.append(
            (
                *key,
                *contrast(weights, samples[group.index], resampling),
            )
        )
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high"])


def recovery_changes(
    recovered: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """From the first to the last number of steps.

    How far image AUROC moves, with a paired bootstrap interval.

    Args:
        recovered: A table of `recovery`; the other arguments are those of
            `recovery_curves`.

    Returns:
        One row per `step probe update shots task`: `start end change low high`, means
        over categories and runs.
    """
    rows, samples = image_counts(
        recovered[recovered["probe"] != "learned"], part, resampling
    )
    keys = [*KEYS, "task"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        ends = [
            (group["n_steps"] == n).to_numpy(dtype=float)
            for n in (group["n_steps"].min(), group["n_steps"].max())
        ]
        start, end = (chosen / chosen.sum() for chosen in ends)
        values = (weights @ samples[group.index, 0] for weights in (start, end))
        out.append(
            (
                *key,
                *values,
                *contrast(end - start, samples[group.index], resampling),
            )
        )
    return pd.DataFrame(out, columns=[*keys, "start", "end", "change", "low", "high"])


def savings(
    recovered: pd.DataFrame,
    *,
    versus: Sequence[str] = ("never_learned", "untrained", "sham"),
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    r"""Lead of the forgotten model over a control on the first task.

    On average over the curve.

    $$\frac{1}{\ln(1+S)} \int_0^{S}
    [A_\mathrm{forgotten}(s) - A_\mathrm{control}(s)] \, d\ln(1+s),$$
    by trapezoids between the numbers of steps tested, with a paired bootstrap interval
    over test images.

    How to read it: above 0, the forgotten model needed less training than one that
    never learned: something was kept. `start` is the part of it visible before the
    first step.

    References:
        Memory: a contribution to experimental psychology (Ebbinghaus, 1885)
        https://psychclassics.yorku.ca/Ebbinghaus/index.htm

    Args:
        recovered: A table of `recovery` with the probe `forgotten`; what it lacks of
            `versus` is left out.
        versus: The controls.
        part: Score part; the other arguments are those of `recovery_curves`.

    Returns:
        One row per `step update shots versus`: `start savings low high`, means over
        categories and runs.
    """
    rows, samples = image_counts(recovered[recovered["task"] == 0], part, resampling)
    out = []
    for key, group in rows.groupby(["step", "update", "shots"], sort=False):
        for control in versus:
            if not {"forgotten", control} <= set(group["probe"]):
                continue
            ahead = {
                name: _curve_weights(group, name) for name in ("forgotten", control)
            }
            start, area = (ahead["forgotten"][i] - ahead[control][i] for i in (0, 1))
            drawn = samples[group.index]
            out.append(
                (
                    *key,
                    control,
                    start @ drawn[:, 0],
                    *contrast(area, drawn, resampling),
                )
            )
    return pd.DataFrame(
        out,
        columns=[
            "step",
            "update",
            "shots",
            "versus",
            "start",
            "savings",
            "low",
            "high",
        ],
    )


def _curve_weights(group: pd.DataFrame, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a probe's rows in its means.

    Before the first step, and over ln(1 + steps).
    """
    mine = (group["probe"] == probe).to_numpy()
    n_steps = group["n_steps"].to_numpy()
    tested = np.unique(n_steps[mine])
    widths = np.diff(np.log1p(tested))
    trapezoid = (
        (np.append(widths, 0.0) + np.insert(widths, 0, 0.0))
        / 2
        / max(widths.sum(), 1e-12)
    )
    curves = mine.sum() / len(tested)
    area = (
        np.where(
            mine,
            trapezoid[np.searchsorted(tested, n_steps).clip(max=len(tested) - 1)],
            0.0,
        )
        / curves
    )
    return (mine & (n_steps == tested[0])) / curves, area


def recovery_halves(recovered: pd.DataFrame, *, part: str = "product") -> pd.DataFrame:
    """The last number of steps on either half of the test images.

    Every other image of each label.

    How to read it: whoever picks a number of steps by one half may report the other;
    where the halves differ by more than a curve rises, the images are too few to pick
    by.

    Args:
        recovered: A table of `recovery`.
        part: Score part.

    Returns:
        One row per `step probe update shots task`: image AUROC `all first_half
        second_half`, means over categories and runs.
    """
    rows = recovered[
        (recovered["metric"] == "image_auroc") & (recovered["part"] == part)
    ]
    rows = rows[rows["n_steps"] == rows.groupby(KEYS)["n_steps"].transform("max")]
    halves = [
        [image_auroc(labels[h], scores[h]) for h in _halves(labels)]
        for labels, scores in zip(rows["labels"], rows["scores"])
    ]
    rows = rows.assign(
        all=rows["value"],
        first_half=[a for a, _ in halves],
        second_half=[b for _, b in halves],
    )
    return (
        rows.groupby([*KEYS, "task"], sort=False)[["all", "first_half", "second_half"]]
        .mean()
        .reset_index()
    )


def _halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of every other image within each label, and of the rest."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), dtype=int)
    for label in (0, 1):
        chosen = order[labels[order] == label]
        rank[chosen] = np.arange(len(chosen))
    return np.flatnonzero(rank % 2 == 0), np.flatnonzero(rank % 2 == 1)


def recovery_table(
    recovered: pd.DataFrame,
    *,
    update: str = "both",
    shots: int | None = None,
    part: str = "product",
) -> pd.DataFrame:
    """The slides' table.

    Each category of the first task just learnt, after task 2, and after the few shots.

    Args:
        recovered: A table of `recovery` from step 1.
        update: What the few shots update.
        shots: Images per category; the most there are by default.
        part: Score part.

    Returns:
        One row per `stage category`, with a column per metric; means over runs.
    """
    rows = recovered[
        (recovered["step"] == 1)
        & (recovered["task"] == 0)
        & (recovered["part"] == part)
    ]
    tried = rows[(rows["probe"] == "forgotten") & (rows["update"] == update)]
    tried = tried[tried["shots"] == (tried["shots"].max() if shots is None else shots)]
    stages = {
        "after_task_1": rows[rows["probe"] == "learned"],
        "after_task_2": tried[tried["n_steps"] == 0],
        "few_shot": tried[tried["n_steps"] == tried["n_steps"].max()],
    }
    long = pd.concat([stage.assign(stage=name) for name, stage in stages.items()])
    means = (
        long.groupby(["stage", "category", "metric"], sort=False)["value"]
        .mean()
        .unstack()
    )
    return means.rename_axis(columns=None).reset_index()


def image_counts(
    recovered: pd.DataFrame, part: str, resampling: Resampling
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of image AUROC and their resamples."""
    rows = recovered[
        (recovered["metric"] == "image_auroc") & (recovered["part"] == part)
    ].reset_index(drop=True)
    if rows.empty:
        raise ValueError(
            f"Expected rows with metric='image_auroc' and part={part!r}; got none in "
            "the table."
        )
    return rows, resampled(rows, resampling)
