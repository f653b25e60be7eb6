"""Conclusions on forgetting as a share of what was learned."""

__all__ = ["forgetting_finding", "relative_forgetting"]

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, defined, mean_weights, resampled
from analysis.intervals import Interval, Resampling, percentile_interval
from analysis.rows import alike, chosen

UNKNOWN = Interval(np.nan, np.nan, np.nan)


@alike
def relative_forgetting(
    measured: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    r"""Drop of image AUROC relative to what learning the task had gained.

    $$\frac{P_{j,j} - P_{T,j}}{P_{j,j} - P_{j-1,j}}$$

    How to read it: 0 keeps all that was learned, 1 loses all of it, more than 1 is
    worse than never having learned. A task that was easy before cannot fall far, and
    looks kept where only the drop is told. NaN where nothing was gained, that is where
    the interval of the gain holds 0: of nothing there is no share.

    References:
        Knowledge accumulation in continually learned representations and the issue of
        feature forgetting (Hess et al., 2023)
        https://arxiv.org/abs/2304.00933

    Args:
        measured: A table of `measure_learning`; means over categories and over runs of
            one strategy.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `strategy step task`: the `gain` and the `drop` with `_low` and
        `_high`, and their ratio `value low high`.

    Example:
        >>> from analysis.witnesses import measure_learning
        >>> relative_forgetting(measure_learning(run))["task"].tolist()
        [0]
    """
    return _ratios(measured, ["strategy", "step", "task"], part, resampling)


@alike
def forgetting_finding(
    measured: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Relative forgetting per run and task: one interval each.

    How to read it: as `relative_forgetting`.

    Args:
        measured: A table of `measure_learning`; the other arguments are those of
            `relative_forgetting`.

    Returns:
        One row per `run strategy step task`: `value low high`.

    Example:
        >>> from analysis.witnesses import measure_learning
        >>> forgetting_finding(measure_learning(run))["task"].tolist()
        [0]
    """
    keys = ["run", "strategy", "step", "task"]
    ratios = _ratios(measured, keys, part, resampling)
    return ratios[[*keys, "value", "low", "high"]]


def _ratios(
    measured: pd.DataFrame, keys: list[str], part: str, resampling: Resampling
) -> pd.DataFrame:
    rows = defined(chosen(measured, metric="image_auroc", part=part))
    samples = resampled(rows, resampling)
    out = []
    for key, one in rows.groupby(keys, sort=False):
        drawn = samples[one.index]
        when = ("before", "learned", "last")
        before, learned, last = (mean_weights(one["when"] == name) for name in when)
        gain = contrast(learned - before, drawn, resampling)
        drop = contrast(learned - last, drawn, resampling)
        ratio = UNKNOWN
        if gain.low > 0:
            gains = (learned - before) @ drawn
            drops = (learned - last) @ drawn
            ratio = _ratio(drops, gains, resampling)
        out.append((*key, *gain, *drop, *ratio))
    columns = list(keys)
    for name in ("gain", "drop"):
        columns += [name, f"{name}_low", f"{name}_high"]
    return pd.DataFrame(out, columns=[*columns, "value", "low", "high"])


def _ratio(drops: np.ndarray, gains: np.ndarray, resampling: Resampling) -> Interval:
    """Ratio of samples (1 + n_resamples,), among those where something was gained."""
    ratios = drops / np.where(gains > 0, gains, np.nan)
    ratios = ratios.round(12) + 0.0
    resamples = ratios[1:]
    return percentile_interval(
        ratios[0], resamples[np.isfinite(resamples)], confidence=resampling.confidence
    )
