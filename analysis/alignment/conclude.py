"""Conclusions on alignment: how near each approach comes to the joint model.

With intervals, and what that costs.
"""

__all__ = ["ERRORS", "alignment_table"]

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, resampled
from analysis.intervals import Interval, Resampling, percentile_interval

KEYS = ["strategy", "aligner", "head"]


ERRORS = ("center_error", "symmetric_kl")


def alignment_table(
    aligned: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    r"""Image AUROC on old tasks, share of the oracle, gap to joint.

    $$\mathrm{share} = (A - A_\mathrm{none})/(A_\mathrm{oracle} - A_\mathrm{none}),$$
    with the run as it is for none, and for the oracle the refit on all training images
    with full covariances.

    How to read it: the share is NaN where the oracle itself gains nothing beyond its
    interval; the gap is negative where the joint model is better. Intervals are paired
    bootstraps over test images; seeds are averaged.

    Args:
        aligned: Tables of `alignment`, of fine-tuned runs with the oracle, and of any
            other strategies.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `strategy aligner head`, the best first: `image_auroc low high`,
        `newest` (image AUROC on the last task), `share share_low share_high`, `gap
        gap_low gap_high`, `n_bytes seconds`, and the medians over old categories
        `center_error center_error_low center_error_high` and `symmetric_kl …`, their
        intervals bootstraps over categories.
    """
    old = aligned[aligned["task"] < aligned["task"].max()]
    rows = old[(old["metric"] == "image_auroc") & (old["part"] == part)].reset_index(
        drop=True
    )
    samples = resampled(rows, resampling)
    means = {
        key: samples[group.index].mean(0)
        for key, group in rows.groupby(KEYS, sort=False)
    }
    none, oracle, joint = (
        _reference(means, *key)
        for key in (("none", ""), ("refit", "full"), ("joint", ""))
    )
    out = [
        (*key, *_compared(mean, none, oracle, joint, resampling))
        for key, mean in means.items()
    ]
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
    frame = pd.DataFrame(out, columns=[*KEYS, *columns]).merge(
        _costs(aligned, part), on=KEYS
    )
    return frame.sort_values(
        "image_auroc", ascending=False, kind="stable", ignore_index=True
    )


def _reference(
    means: Mapping[tuple[str, str, str], np.ndarray], aligner: str, head: str
) -> np.ndarray | None:
    """The fine-tuned rows of an aligner, where they were measured."""
    return means.get(("finetune", aligner, head))


def _compared(
    mean: np.ndarray,
    none: np.ndarray | None,
    oracle: np.ndarray | None,
    joint: np.ndarray | None,
    resampling: Resampling,
) -> tuple[float, ...]:
    """Level, share and gap of one approach, each with its interval."""
    unknown = Interval(np.nan, np.nan, np.nan)
    level = contrast([1.0], mean[None], resampling)
    gap = (
        unknown
        if joint is None
        else contrast([1.0, -1.0], np.stack([mean, joint]), resampling)
    )
    share = unknown
    if none is not None and oracle is not None:
        gain = contrast([1.0, -1.0], np.stack([oracle, none]), resampling)
        if gain.low > 0:
            share = contrast([1.0], ((mean - none) / (oracle - none))[None], resampling)
    return (*level, *share, *gap)


def _costs(aligned: pd.DataFrame, part: str) -> pd.DataFrame:
    """Costs of each approach.

    The last task's AUROC, the errors of its mixture, its bytes and seconds.
    """
    newest = aligned["task"] == aligned["task"].max()
    auroc = (aligned["metric"] == "image_auroc") & (aligned["part"] == part)
    columns = {"newest": aligned[newest & auroc].groupby(KEYS)["value"].mean()}
    for name in ERRORS:
        groups = aligned[aligned["metric"] == name].groupby(KEYS)["value"]
        medians = {key: _median(values.to_numpy()) for key, values in groups}
        for i, suffix in enumerate(("", "_low", "_high")):
            columns[name + suffix] = pd.Series(
                {key: interval[i] for key, interval in medians.items()}
            )
    for name in ("n_bytes", "seconds"):
        columns[name] = (
            aligned.groupby(["run", *KEYS])[name].first().groupby(KEYS).mean()
        )
    return pd.DataFrame(columns).rename_axis(KEYS).reset_index()


def _median(values: np.ndarray, *, resampling: Resampling = Resampling()) -> Interval:
    """The median with its percentile interval under resampling of the values."""
    draws = np.random.default_rng(0).choice(
        values, (resampling.n_resamples, len(values))
    )
    return percentile_interval(
        float(np.median(values)),
        np.median(draws, axis=1),
        confidence=resampling.confidence,
    )
