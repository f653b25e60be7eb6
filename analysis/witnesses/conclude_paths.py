"""Conclusions on the straight line between two models: levels, and a barrier."""

__all__ = ["path_barriers", "path_finding", "path_levels"]

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.contrasts import (
    contrast,
    defined,
    mean_weights,
    resampled,
    resampled_means,
)
from analysis.intervals import Resampling, percentile_interval
from analysis.rows import alike, chosen

# Metric -> 1 where more is worse.
LOSSES = {"nll": 1, "image_auroc": -1}
LINE = ["units", "centers", "metric"]


@alike
def path_levels(
    measured: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    """Loss and image AUROC along the line, with intervals over test images.

    Args:
        measured: A table of `measure_path`; means over old tasks and over runs of one
            strategy.
        resampling: Of the test images.

    Returns:
        One row per `strategy step units centers metric share`: `value low high`.

    Example:
        >>> from analysis.witnesses import measure_path
        >>> levels = path_levels(measure_path(run, points=(0.0, 0.5, 1.0)))
        >>> levels["share"].unique().tolist()
        [0.0, 0.5, 1.0]
    """
    keys = ["strategy", "step", *LINE]
    out = []
    for key, rows, samples in _lines(measured, keys, resampling):
        for share in sorted(rows["share"].unique()):
            weights = mean_weights(rows["share"] == share)
            out.append((*key, share, *contrast(weights, samples, resampling)))
    return pd.DataFrame(out, columns=[*keys, "share", "value", "low", "high"])


@alike
def path_barriers(
    measured: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    r"""Barrier on the line: how far it rises above the chord between its ends.

    $$\max_a \; L(a) - (1 - a) L(0) - a L(1),$$
    with L the loss, or the image AUROC that is missing.

    How to read it: 0 is one valley. In each resample of the images the highest point is
    looked for anew, so that no barrier is below 0.

    Args:
        measured: A table of `measure_path`; means over old tasks and over runs of one
            strategy.
        resampling: Of the test images.

    Returns:
        One row per `strategy step units centers metric`: `value low high`, in nats per
        dimension or AUROC.

    Example:
        >>> from analysis.witnesses import measure_path
        >>> barriers = path_barriers(measure_path(run, points=(0.0, 0.5, 1.0)))
        >>> bool((barriers["low"] <= barriers["high"]).all())
        True
    """
    return _barriers(measured, ["strategy", "step", *LINE], resampling)


@alike
def path_finding(
    measured: pd.DataFrame,
    *,
    units: str = "matched",
    centers: str = "interpolated",
    metric: str = "nll",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Barrier per run and task: one interval each.

    How to read it: near 0, the model was displaced within one valley; above, what it
    needs to know again lies in another.

    Args:
        measured: A table of `measure_path`.
        units: Order of hidden units.
        centers: Centers on the line.
        metric: `"nll"` or `"image_auroc"`.
        resampling: Of the test images.

    Returns:
        One row per `run strategy step task`: `value low high`.

    Example:
        >>> from analysis.witnesses import measure_path
        >>> path_finding(measure_path(run, points=(0.0, 0.5, 1.0)))["strategy"].tolist()
        ['finetune']
    """
    keys = ["run", "strategy", "step", "task"]
    rows = chosen(measured, units=units, centers=centers, metric=metric)
    found = _barriers(rows, [*keys, *LINE], resampling)
    return found[[*keys, "value", "low", "high"]]


def _barriers(
    measured: pd.DataFrame, keys: list[str], resampling: Resampling
) -> pd.DataFrame:
    out = []
    for key, rows, samples in _lines(measured, keys, resampling):
        points = np.sort(rows["share"].unique())
        _refuse_no_ends(points)
        weights = np.stack([mean_weights(rows["share"] == share) for share in points])
        losses = LOSSES[key[-1]] * weights @ samples
        share = (points - points[0])[:, None] / (points[-1] - points[0])
        chord = (1 - share) * losses[0] + share * losses[-1]
        barrier = (losses - chord).max(0).round(12) + 0.0
        interval = percentile_interval(
            barrier[0], barrier[1:], confidence=resampling.confidence
        )
        out.append((*key, *interval))
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high"])


def _lines(
    measured: pd.DataFrame, keys: list[str], resampling: Resampling
) -> Iterator[tuple[tuple, pd.DataFrame, np.ndarray]]:
    """Rows of each line and their resamples."""
    for metric, rows in measured.groupby("metric", sort=False):
        if metric not in LOSSES:
            continue
        rows = defined(rows)
        draw = resampled_means if metric == "nll" else resampled
        samples = draw(rows, resampling)
        for key, one in rows.groupby(keys, sort=False):
            yield key, one, samples[one.index]


def _refuse_no_ends(points: np.ndarray) -> None:
    if points[0] != 0 or points[-1] != 1:
        raise ValueError(
            "Expected a line from 0 to 1, as measure_path has it by default; got one "
            f"from {points[0]} to {points[-1]}."
        )
