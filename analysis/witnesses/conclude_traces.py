"""Conclusions from traces: when each raised an alarm, and how early that was."""

__all__ = ["trace_leads"]

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, defined, resampled
from analysis.intervals import Interval, Resampling, percentile_interval
from analysis.rows import alike, matching

TRUTH = "image_auroc"


@alike
def trace_leads(
    traces: pd.DataFrame,
    *,
    n_start: int = 20,
    limit: float = 5.0,
    patience: int = 20,
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Alarm of each trace, and its lead over half the drop of image AUROC.

    An alarm is the last of `patience` readings in a row that are farther than `limit`
    standard deviations from the median of the first `n_start`: only then is it known.
    Half the drop is where the old tasks' image AUROC, tested now and then, has fallen
    by half of what it falls by in the end.

    How to read it: a positive `lead` is the number of optimizer steps by which a trace,
    which needs no old image, was earlier than the harm. NaN in `alarm` is silence; a
    trace that is loud where nothing falls (`half` is NaN) warns of nothing.

    Args:
        traces: Of `measure_traces`, one or several runs.
        n_start: Readings that a trace begins with.
        limit: Standard deviations of those.
        patience: Readings in a row.
        resampling: Of the test images, which says how sure half the drop is.

    Returns:
        One row per `run strategy step trace`: `alarm half lead`, and `low` and `high`
        of the lead, in optimizer steps.

    Raises:
        ValueError: A trace is too short for an alarm.

    Example:
        >>> from analysis.witnesses import measure_traces
        >>> leads = trace_leads(measure_traces(run), n_start=3, patience=2)
        >>> sorted(set(leads["trace"]))
        ['kl', 'log_det', 'margin', 'nll']
    """
    keys = ["run", "strategy", "step"]
    out = []
    for key, rows in traces.groupby(keys, sort=False):
        half = _half(matching(rows, trace=TRUTH), resampling)
        for trace, one in rows[rows["trace"] != TRUTH].groupby("trace", sort=False):
            alarm = _alarm(one.sort_values("n_steps"), n_start, limit, patience)
            lead = [end - alarm for end in half]
            out.append((*key, trace, alarm, half.value, *lead))
    columns = [*keys, "trace", "alarm", "half", "lead", "low", "high"]
    return pd.DataFrame(out, columns=columns)


def _alarm(trace: pd.DataFrame, n_start: int, limit: float, patience: int) -> float:
    """Optimizer steps at the alarm; NaN where there is none."""
    values = trace["value"].to_numpy()
    if len(values) < n_start + patience:
        raise ValueError(
            f"Expected {n_start} readings that a trace begins with and {patience} that "
            f"may be far, or more; got {len(values)}. Read more often (every=1), or "
            "name a smaller n_start or patience."
        )
    start = values[:n_start]
    # Any reading that is not finite is far.
    far = ~(np.abs(values - np.median(start)) <= limit * start.std())
    far[:n_start] = False
    in_a_row = np.convolve(far, np.ones(patience), mode="valid") == patience
    found = np.flatnonzero(in_a_row)
    if not len(found):
        return np.nan
    return float(trace["n_steps"].iloc[found[0] + patience - 1])


def _half(tested: pd.DataFrame, resampling: Resampling) -> Interval:
    """Optimizer steps at which half of the drop had come; NaN where nothing fell.

    A drop counts where its interval lies above 0.
    """
    tested = defined(tested)
    samples = resampled(tested, resampling)
    groups = tested.groupby("n_steps")  # in ascending order
    steps = np.array(list(groups.groups))
    means = np.stack([samples[one.index].mean(0) for _, one in groups])
    halves = np.array([_crossing(steps, values) for values in means.T])
    drop = contrast([1.0, -1.0], means[[0, -1]], resampling)
    if not drop.low > 0:
        return Interval(np.nan, np.nan, np.nan)
    fell = halves[1:][np.isfinite(halves[1:])]
    return percentile_interval(halves[0], fell, confidence=resampling.confidence)


def _crossing(steps: np.ndarray, values: np.ndarray) -> float:
    """Where values that fall in the end first reach the middle of both ends."""
    level = (values[0] + values[-1]) / 2
    if not values[-1] < values[0]:
        return np.nan
    first = int(np.argmax(values <= level))
    around = slice(first - 1, first + 1)
    return float(np.interp(-level, -values[around], steps[around]))
