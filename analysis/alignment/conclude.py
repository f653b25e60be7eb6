"""Conclusions on alignment: distance to the joint model, and what it costs."""

__all__ = [
    "ERRORS",
    "alignment_table",
    "ladder",
    "likeness_table",
    "without_old_images",
]

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, defined, resampled
from analysis.intervals import Interval, Resampling, percentile_interval
from analysis.rows import alike, matching

KEYS = ["strategy", "aligner", "head"]
ERRORS = ("center_error", "symmetric_kl")
# Aligners that need old images, and what is no aligner.
NOT_FREE = ("none", "joint", "refit", "exemplars")
# Rungs of the ladder -> aligner and head. The aligner was chosen before any result: it
# estimates no drift, but sends draws of the kept laws through the flow.
RUNGS = {
    "as trained": ("none", ""),
    "draws through the flow": ("pushforward", "full"),
    "refit, means": ("refit", "means"),
    "refit, covariances": ("refit", "full"),
}


@alike
def alignment_table(
    aligned: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    r"""Image AUROC on old tasks, share of the refit, gap to joint.

    $$\mathrm{share} = (A - A_\mathrm{none})/(A_\mathrm{refit} - A_\mathrm{none}),$$
    with the run as it is for none, and for the refit that on all training images with
    full covariances.

    How to read it: the share is NaN where the refit itself gains nothing beyond its
    interval; the gap is negative where the joint model is better. Intervals are paired
    bootstraps over test images; seeds are averaged.

    Args:
        aligned: Tables of `alignment`, of fine-tuned runs with the refit, and of any
            other strategies.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `strategy aligner head`, the best first: `image_auroc low high`,
        `newest` (image AUROC on the last task), `share share_low share_high`, `gap
        gap_low gap_high`, `n_bytes seconds`, and the medians over old categories
        `center_error center_error_low center_error_high` and `symmetric_kl …`, their
        intervals bootstraps over categories.

    Example:
        >>> from analysis.alignment import measure_alignment
        >>> aligned = measure_alignment(run, aligner=("sdc", "refit"))
        >>> sorted(set(alignment_table(aligned)["aligner"]))
        ['joint', 'none', 'refit', 'sdc']
    """
    old = aligned[aligned["task"] < aligned["task"].max()]
    rows = defined(matching(old, metric="image_auroc", part=part))
    samples = resampled(rows, resampling)
    groups: Any = rows.groupby(KEYS, sort=False)
    means = {key: samples[group.index].mean(0) for key, group in groups}
    out = [(*key, *_compared(mean, means, resampling)) for key, mean in means.items()]
    columns = [
        "image_auroc",
        "low",
        "high",
        "share",
        "share_low",
        "share_high",
        "gap",
        "gap_low",
        "gap_high",
    ]
    levels = pd.DataFrame(out, columns=[*KEYS, *columns])
    return levels.merge(_costs(aligned, part), on=KEYS).sort_values(
        "image_auroc",
        ascending=False,
        kind="stable",
        ignore_index=True,
    )


@alike
def without_old_images(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `alignment_table` whose aligners need no old image, the best first.

    Example:
        >>> from analysis.alignment import measure_alignment
        >>> aligned = measure_alignment(run, aligner=("sdc", "refit"))
        >>> table = without_old_images(alignment_table(aligned))
        >>> sorted(set(table["aligner"]))
        ['sdc']
    """
    return table[~table["aligner"].isin(NOT_FREE)]


@alike
def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """The rungs from each run as it was trained up to a refit to all images.

    How to read it: from `as trained` to `refit, covariances` is what any mixture can
    give back under that flow; from there to joint training, what the flow lost.

    Args:
        table: Of `alignment_table`.

    Returns:
        One row per `strategy rung` that was measured: `image_auroc low high`, `gap
        gap_low gap_high` to joint training, and `n_bytes`.

    Example:
        >>> from analysis.alignment import measure_alignment
        >>> aligned = measure_alignment(run, aligner=("sdc", "refit"))
        >>> ladder(alignment_table(aligned))["rung"].tolist()
        ['as trained', 'refit, means', 'refit, covariances']
    """
    values = ["image_auroc", "low", "high", "gap", "gap_low", "gap_high", "n_bytes"]
    rungs = []
    for rung, (aligner, head) in RUNGS.items():
        rows = matching(table, aligner=aligner, head=head)
        rungs.append(rows.assign(rung=rung))
    return pd.concat(rungs, ignore_index=True)[["strategy", "rung", *values]]


@alike
def likeness_table(
    likeness: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    """Medians over old categories of the errors beside the joint mixture.

    A category's error is its mean over levels and runs.

    Args:
        likeness: Of `measure_likeness`.
        resampling: Of the categories.

    Returns:
        One row per `strategy`: `center_error` and `symmetric_kl` with `_low` and
        `_high`, and the mean of `explained`.

    Example:
        >>> from analysis.alignment import measure_likeness
        >>> likeness_table(measure_likeness(run))["strategy"].tolist()
        ['finetune']
    """
    old = likeness[likeness["task"] < likeness["task"].max()]
    out = []
    for strategy, rows in old.groupby("strategy", sort=False):
        row: dict[str, Any] = {"strategy": strategy}
        for name in ERRORS:
            of_category = matching(rows, metric=name).groupby("category")["value"]
            interval = _median(of_category.mean().to_numpy(), resampling)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), interval))
        row["explained"] = matching(rows, metric="explained")["value"].mean()
        out.append(row)
    return pd.DataFrame(out)


def _compared(
    mean: np.ndarray,
    means: Mapping[tuple[str, str, str], np.ndarray],
    resampling: Resampling,
) -> tuple[float, ...]:
    """Level, share and gap of one approach, each with its interval.

    NaN where what it is compared with was not measured.

    Args:
        mean: Image AUROC of the approach (1 + n_resamples,), the estimate first.
        means: The same of every `strategy aligner head`.
        resampling: Of which the confidence is taken.
    """
    none = means.get(("finetune", "none", ""))
    oracle = means.get(("finetune", "refit", "full"))
    joint = means.get(("finetune", "joint", ""))
    level = contrast([1.0], mean[None], resampling)
    share = Interval(np.nan, np.nan, np.nan)
    gap = Interval(np.nan, np.nan, np.nan)
    if joint is not None:
        gap = _difference(mean, joint, resampling)
    if none is not None and oracle is not None:
        gain = _difference(oracle, none, resampling)
        if gain.low > 0:
            # A resample in which the refit gains nothing has no share.
            gains = oracle != none
            part = (mean - none)[gains] / (oracle - none)[gains]
            share = contrast([1.0], part[None], resampling)
    return (*level, *share, *gap)


def _difference(
    a: np.ndarray,
    b: np.ndarray,
    resampling: Resampling,
) -> Interval:
    return contrast([1.0, -1.0], np.stack([a, b]), resampling)


def _costs(aligned: pd.DataFrame, part: str) -> pd.DataFrame:
    """Costs of each approach: its errors, bytes and seconds, and the newest task."""
    newest = matching(
        aligned,
        task=aligned["task"].max(),
        metric="image_auroc",
        part=part,
    )
    columns = {"newest": newest.groupby(KEYS)["value"].mean()}
    for name in ERRORS:
        values = matching(aligned, metric=name).groupby(KEYS)["value"]
        medians = {key: _median(group.to_numpy()) for key, group in values}
        for i, suffix in enumerate(("", "_low", "_high")):
            bounds = {key: interval[i] for key, interval in medians.items()}
            columns[name + suffix] = pd.Series(bounds)
    for name in ("n_bytes", "seconds"):
        per_run = aligned.groupby(["run", *KEYS])[name].first()
        columns[name] = per_run.groupby(KEYS).mean()
    return pd.DataFrame(columns).rename_axis(KEYS).reset_index()


def _median(values: np.ndarray, resampling: Resampling = Resampling()) -> Interval:
    """The median with its percentile interval under resampling of the values."""
    size = (resampling.n_resamples, len(values))
    draws = np.random.default_rng(0).choice(values, size)
    return percentile_interval(
        float(np.median(values)),
        np.median(draws, axis=1),
        confidence=resampling.confidence,
    )
