"""Conclusions on detection: matrices and tables from scores."""

__all__ = ["forgetting_row", "r_matrix", "summary", "task_table"]

from typing import Any

import numpy as np
import pandas as pd

from analysis import conventions, intervals
from analysis.rows import chosen


def r_matrix(
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
) -> np.ndarray:
    """R[t, j] (T, T).

    The metric on task j after learning task t, a mean over its categories and over
    runs.

    NaN where the model had no center for a category of the task.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.

    Example:
        >>> rows = [(0, 0, 0.9), (1, 0, 0.7), (1, 1, 0.8)]
        >>> table = pd.DataFrame(rows, columns=["step", "task", "value"])
        >>> keys = {"run": "a", "strategy": "finetune", "given": "category"}
        >>> table = table.assign(metric="image_auroc", part="product", **keys)
        >>> r_matrix(table)
        array([[0.9, nan],
               [0.7, 0.8]])
    """
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    if rows["strategy"].nunique() > 1:
        raise ValueError(
            "Expected runs of one strategy; got "
            f"{', '.join(sorted(rows['strategy'].unique()))}."
        )
    means = (
        rows.groupby(["run", "step", "task"])["value"]
        .mean()
        .groupby(["step", "task"])
        .mean()
        .unstack()
    )
    return means.reindex(
        index=range(means.index.max() + 1), columns=range(means.columns.max() + 1)
    ).to_numpy()


def forgetting_row(task: str, pair: np.ndarray, confidence: float) -> tuple[Any, ...]:
    """`pair` (2, 1 + resamples).

    Learned and final, the first column being the estimate itself.
    """
    change = pair[1] - pair[0]
    interval = intervals.percentile_interval(
        change[0], change[1:], confidence=confidence
    )
    return task, pair[0, 0], pair[1, 0], *interval


def task_table(
    evaluated: pd.DataFrame, *, part: str = "product", given: str = "category"
) -> pd.DataFrame:
    """The slides' table.

    Per task, image and pixel AUROC of the last model, and their average.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.

    Returns:
        One row per task and one for the average: `task image_auroc pixel_auroc`.
    """
    columns = {
        key: r_matrix(evaluated, metric=key, part=part, given=given)[-1]
        for key in ("image_auroc", "pixel_auroc")
    }
    frame = pd.DataFrame(columns)
    frame.insert(0, "task", frame.index.astype(str))
    return pd.concat(
        [frame, frame.mean(numeric_only=True).to_frame().T.assign(task="average")],
        ignore_index=True,
    )


def summary(
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """One row per strategy and seed.

    Final mean, learning score, bwt and forgetting over the tasks.

    Returns:
        `strategy seed final_mean learning_score bwt forgetting`; NaN where a strategy
        has no R matrix (joint).
    """
    rows = []
    for (strategy, seed), one in evaluated.groupby(["strategy", "seed"], sort=False):
        R = r_matrix(one, metric=metric, part=part, given=given)
        rows.append((strategy, seed, *_conventions(R)))
    return pd.DataFrame(
        rows,
        columns=[
            "strategy",
            "seed",
            "final_mean",
            "learning_score",
            "bwt",
            "forgetting",
        ],
    )


def _conventions(R: np.ndarray) -> tuple[float, ...]:
    if (
        R.shape[0] == 1 or np.isnan(R[-1]).any()
    ):  # one step that learns all tasks, or a fresh model per task
        diagonal = R[-1] if R.shape[0] == 1 else np.diagonal(R)
        return float(np.mean(diagonal)), float(np.mean(diagonal)), np.nan, np.nan
    return (
        conventions.final_mean(R),
        conventions.learning_score(R),
        conventions.bwt(R),
        conventions.forgetting(R),
    )
