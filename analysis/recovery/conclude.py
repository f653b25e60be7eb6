"""Conclusions from recovery curves: how far probes move, and what was saved."""

__all__ = [
    "at_rate",
    "matched_savings",
    "recovery_changes",
    "recovery_curves",
    "recovery_halves",
    "recovery_table",
    "savings",
    "training_samples",
]

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.contrasts import (
    contrast,
    defined,
    mean_weights,
    resampled,
    sample_interval,
)
from analysis.intervals import Resampling
from analysis.metrics import image_auroc
from analysis.rows import alike, matching

KEYS = ["step", "probe", "update", "shots", "lr"]
CONTROLS = ("never_learned", "untrained", "sham")


@alike
def recovery_curves(
    recovered: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Image AUROC after each number of steps, with its interval.

    It is a mean over a task's categories and over runs.

    Args:
        recovered: A table of `recovery`.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `step probe update shots lr task n_steps`: `value low high`.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> curves = recovery_curves(measure_recovery(run, steps=(0, 1, 3)))
        >>> sorted(set(curves["n_steps"]))
        [0, 1, 3]
    """
    rows, samples = image_counts(recovered, part, resampling)
    keys = [*KEYS, "task", "n_steps"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        weights = np.full(len(group), 1 / len(group))
        interval = contrast(weights, samples[group.index], resampling)
        out.append((*key, *interval))
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high"])


@alike
def recovery_changes(
    recovered: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Change of image AUROC from the first to the last number of steps.

    Its interval is a paired bootstrap over test images.

    Args:
        recovered: A table of `recovery`; the other arguments are those of
            `recovery_curves`.

    Returns:
        One row per `step probe update shots lr task`: `start end change low high`,
        means over categories and runs.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> changes = recovery_changes(measure_recovery(run, steps=(0, 1, 3)))
        >>> bool((changes["low"] <= changes["high"]).all())
        True
    """
    trained = recovered[recovered["probe"] != "learned"]
    rows, samples = image_counts(trained, part, resampling)
    keys = [*KEYS, "task"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        n_steps = group["n_steps"]
        start = mean_weights(n_steps == n_steps.min())
        end = mean_weights(n_steps == n_steps.max())
        change = contrast(end - start, samples[group.index], resampling)
        estimates = samples[group.index, 0]
        out.append((*key, start @ estimates, end @ estimates, *change))
    return pd.DataFrame(out, columns=[*keys, "start", "end", "change", "low", "high"])


@alike
def savings(
    recovered: pd.DataFrame,
    *,
    versus: Sequence[str] = CONTROLS,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    r"""Mean lead of the forgotten model over a control on the first task.

    $$\frac{1}{\ln(1+S)} \int_0^{S}
    [A_\mathrm{forgotten}(s) - A_\mathrm{control}(s)] \, d\ln(1+s),$$
    by trapezoids between the numbers of steps tested, with a paired bootstrap interval
    over test images.

    How to read it: above 0, the forgotten model needed less training than one that
    never learned: something was kept. `start` is the part of it visible before the
    first step. `matched` leaves that part out: the control's clock starts when it has
    reached what the forgotten model still had (`matched_savings`), so that above 0 the
    *forgotten* part came back sooner than it is learned.

    References:
        Memory: a contribution to experimental psychology (Ebbinghaus, 1885)
        https://psychclassics.yorku.ca/Ebbinghaus/index.htm

    Args:
        recovered: A table of `recovery` with the probe `forgotten`; what it lacks of
            `versus` is left out.
        versus: The controls.
        part: Score part; the other arguments are those of `recovery_curves`.

    Returns:
        One row per `step update shots lr versus`: `start savings low high`, and
        `matched` with its `_low` and `_high`; means over categories and runs.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> saved = savings(measure_recovery(run, steps=(0, 1, 3)))
        >>> sorted(set(saved["versus"]))[:1]
        ['never_learned']
    """
    rows, samples = image_counts(matching(recovered, task=0), part, resampling)
    keys = ["step", "update", "shots", "lr"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        drawn = samples[group.index]
        probes = set(group["probe"])
        for control in versus:
            if {"forgotten", control} <= probes:
                forgotten = _curve_weights(group, "forgotten")
                start, area = forgotten - _curve_weights(group, control)
                interval = contrast(area, drawn, resampling)
                matched = _matched(group, drawn, control)
                beyond = sample_interval(matched, resampling)
                row = (*key, control, start @ drawn[:, 0], *interval, *beyond)
                out.append(row)
    values = ["start", "savings", "low", "high"]
    values += ["matched", "matched_low", "matched_high"]
    return pd.DataFrame(out, columns=[*keys, "versus", *values])


def matched_savings(
    n_steps: np.ndarray, forgotten: np.ndarray, control: np.ndarray
) -> np.ndarray:
    r"""Mean lead on a control whose clock starts where the forgotten model stands.

    $$\frac{1}{\ln(1+S)} \int_0^{S} [F(s) - \hat C(s^* + s)] \, d\ln(1+s),$$
    with $\hat C$ the best that the control has reached and $s^*$ the steps after which
    it has reached $F(0)$; a control that never does stays at $F(0)$.

    Args:
        n_steps: Numbers of steps tested, ascending from 0, (n,).
        forgotten: F, metric of the forgotten model after each, (n, m).
        control: C, that of the control, (n, m).

    Returns:
        (m,).

    Example:
        >>> steps, ahead = np.array([0, 1, 2]), np.array([[0.5], [0.9], [0.9]])
        >>> matched_savings(steps, ahead, np.array([[0.5], [0.5], [0.5]])).round(3)
        array([0.274])
    """
    weights = _trapezoid(np.log1p(n_steps))
    best = np.maximum.accumulate(control, axis=0)
    out = np.empty(forgotten.shape[1])
    for i, (own, reached) in enumerate(zip(forgotten.T, best.T)):
        other = np.full(len(n_steps), own[0])
        if reached[-1] >= own[0]:
            begin = _first_at(n_steps, reached, own[0])
            other = np.interp(begin + n_steps, n_steps, reached)
        out[i] = weights @ (own - other)
    return out


def _first_at(n_steps: np.ndarray, reached: np.ndarray, level: float) -> float:
    """Steps after which a curve that never falls is first at a level that it reaches.

    Between the numbers of steps tested it is a line.
    """
    at = int(np.searchsorted(reached, level))
    if at == 0:
        return 0.0
    rise = reached[at] - reached[at - 1]
    share = (level - reached[at - 1]) / rise
    return n_steps[at - 1] + share * (n_steps[at] - n_steps[at - 1])


def _matched(group: pd.DataFrame, drawn: np.ndarray, control: str) -> np.ndarray:
    """`matched_savings` of the rows and their resamples, (1 + n_resamples,)."""
    steps, own = _mean_curve(group, drawn, "forgotten")
    steps_too, other = _mean_curve(group, drawn, control)
    if not np.array_equal(steps, steps_too):
        raise ValueError(
            f"Expected 'forgotten' and {control!r} tested after the same numbers of "
            f"steps; got {steps.tolist()} and {steps_too.tolist()}."
        )
    return matched_savings(steps, own, other)


def _mean_curve(
    group: pd.DataFrame, drawn: np.ndarray, probe: str
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of steps (n,), and a probe's mean after each (n, 1 + n_resamples)."""
    mine = group["probe"] == probe
    steps = np.unique(group["n_steps"][mine])
    means = [drawn[mine & (group["n_steps"] == n)].mean(0) for n in steps]
    return steps, np.stack(means)


@alike
def training_samples(
    recovered: pd.DataFrame, *, part: str, resampling: Resampling
) -> Iterator[tuple[tuple, dict[str, np.ndarray]]]:
    """What few steps gave back of the first task, with its resamples.

    Args:
        recovered: A table of `recovery` with the probe `forgotten`.
        part: Score part.
        resampling: Of the test images.

    Yields:
        The key `step update shots lr`, and estimates with their resamples
        (1 + n_resamples,): `learned`, `final` (before the first step), `regained` (the
        change up to the number of steps after which the estimate is highest), and per
        control that was tried the `matched_savings`.
    """
    rows, samples = image_counts(matching(recovered, task=0), part, resampling)
    learned = samples[rows["probe"] == "learned"].mean(0)
    rows = rows[rows["probe"] != "learned"]
    for key, group in rows.groupby(["step", "update", "shots", "lr"], sort=False):
        drawn = samples[group.index]
        _, curve = _mean_curve(group, drawn, "forgotten")
        best = int(np.argmax(curve[:, 0]))
        found = {
            "learned": learned,
            "final": curve[0],
            "regained": curve[best] - curve[0],
        }
        for control in CONTROLS:
            if (group["probe"] == control).any():
                found[control] = _matched(group, drawn, control)
        yield key, found


def _curve_weights(group: pd.DataFrame, probe: str) -> np.ndarray:
    """Weights (2, n) of the rows in two means of a probe.

    The first is the mean before the first step, the second over ln(1 + steps).
    """
    mine = (group["probe"] == probe).to_numpy()
    n_steps = group["n_steps"].to_numpy()
    tested = np.unique(n_steps[mine])
    n_curves = mine.sum() / len(tested)
    place = np.searchsorted(tested, n_steps).clip(max=len(tested) - 1)
    start = mine & (n_steps == tested[0])
    area = np.where(mine, _trapezoid(np.log1p(tested))[place], 0.0)
    return np.stack([start, area]) / n_curves


def _trapezoid(x: np.ndarray) -> np.ndarray:
    """Weights of the mean by trapezoids over ascending points (n,)."""
    widths = np.diff(x)
    before = np.insert(widths, 0, 0.0)
    after = np.append(widths, 0.0)
    return (after + before) / 2 / max(widths.sum(), 1e-12)


@alike
def recovery_halves(recovered: pd.DataFrame, *, part: str = "product") -> pd.DataFrame:
    """Image AUROC after the last step on either half of the images.

    A half holds every other image of each label.

    How to read it: whoever picks a number of steps by one half may report the other;
    where the halves differ by more than a curve rises, the images are too few to pick
    by.

    Args:
        recovered: A table of `recovery`.
        part: Score part.

    Returns:
        One row per `step probe update shots lr task`: image AUROC `all first_half
        second_half`, means over categories and runs.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> halves = recovery_halves(measure_recovery(run, steps=(0, 1, 3)))
        >>> halves.columns[-3:].tolist()
        ['all', 'first_half', 'second_half']
    """
    rows = defined(matching(recovered, metric="image_auroc", part=part))
    last = rows.groupby(KEYS)["n_steps"].transform("max")
    rows = rows[rows["n_steps"] == last].rename(columns={"value": "all"})
    halves = []
    for labels, scores in zip(rows["labels"], rows["scores"]):
        aurocs = [image_auroc(labels[half], scores[half]) for half in _halves(labels)]
        halves.append(aurocs)
    names = ["first_half", "second_half"]
    rows[names] = np.reshape(halves, (-1, 2))
    groups = rows.groupby([*KEYS, "task"], sort=False)
    return groups[["all", *names]].mean().reset_index()


def _halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of every other image within each label, and of the rest."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), dtype=int)
    for label in (0, 1):
        chosen = order[labels[order] == label]
        rank[chosen] = np.arange(len(chosen))
    is_odd = rank % 2 == 1
    return np.flatnonzero(~is_odd), np.flatnonzero(is_odd)


@alike
def recovery_table(
    recovered: pd.DataFrame,
    *,
    update: str = "both",
    shots: int | None = None,
    lr: float | None = None,
    part: str = "product",
) -> pd.DataFrame:
    """Metrics of the first task's categories: learned, forgotten, recovered.

    The table has the slides' form: just learned, after task 2, after the few shots.

    Args:
        recovered: A table of `recovery` from step 1.
        update: What the few shots update.
        shots: Images per category; the most there are by default.
        lr: Learning rate; the highest there is by default.
        part: Score part.

    Returns:
        One row per `stage category`, with a column per metric; means over runs.

    Example:
        >>> from analysis.recovery import measure_recovery
        >>> table = recovery_table(measure_recovery(run, steps=(0, 1, 3)))
        >>> table["stage"].unique().tolist()
        ['after_task_1', 'after_task_2', 'few_shot']
    """
    rows = matching(
        at_rate(recovered, lr),
        step=1,
        task=0,
        part=part,
    )
    tried = matching(
        rows,
        probe="forgotten",
        update=update,
    )
    most = tried["shots"].max()
    tried = matching(tried, shots=most if shots is None else shots)
    stages = {
        "after_task_1": matching(rows, probe="learned"),
        "after_task_2": matching(tried, n_steps=0),
        "few_shot": matching(tried, n_steps=tried["n_steps"].max()),
    }
    long = pd.concat([stage.assign(stage=name) for name, stage in stages.items()])
    keys = ["stage", "category", "metric"]
    means = long.groupby(keys, sort=False)["value"].mean().unstack()
    return means.rename_axis(columns=None).reset_index()


@alike
def at_rate(recovered: pd.DataFrame, lr: float | None = None) -> pd.DataFrame:
    """Rows of one learning rate, the highest by default, and those just learned.

    Raises:
        ValueError: No steps were taken at that rate.
    """
    is_learned = recovered["probe"] == "learned"
    rates = recovered.loc[~is_learned, "lr"].unique()
    if lr is None:
        lr = rates.max() if len(rates) else 0.0
    elif lr not in rates:
        known = ", ".join(f"{rate:g}" for rate in sorted(rates)) or "none"
        raise ValueError(f"Expected a rate that was tried, {known}; got {lr:g}.")
    return recovered[is_learned | (recovered["lr"] == lr)]


@alike
def image_counts(
    recovered: pd.DataFrame,
    part: str,
    resampling: Resampling,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of image AUROC, and their resamples."""
    rows = defined(matching(recovered, metric="image_auroc", part=part))
    if rows.empty:
        raise ValueError(
            f"Expected rows with metric='image_auroc' and part={part!r}; got none in "
            "the table."
        )
    return rows, resampled(rows, resampling)
