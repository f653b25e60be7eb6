"""Conclusions on detection: matrices and tables from scores."""

__all__ = [
    "category_scores",
    "field_table",
    "final_means",
    "forgetting_row",
    "r_matrix",
    "summary",
    "task_table",
]

from typing import Any

import numpy as np
import pandas as pd

from analysis import conventions, intervals
from analysis.contrasts import contrast, resampled_images
from analysis.intervals import Resampling
from analysis.rows import (
    alike,
    chosen,
    first_and_last,
    matching,
    refuse_strategies,
)

SUMMARIES = ("final_mean", "learning_score", "bwt", "forgetting")


@alike
def r_matrix(
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
) -> np.ndarray:
    """Matrix R[t, j] (T, T), the metric on task j after learning task t.

    It is a mean over the task's categories and over runs.
    NaN where the model had no center for a category of the task; on a stream without
    boundaries, which has some of them before the task, the mean is over those known,
    and R[j, j] is after the task's own window, as `forgetting_table` has it.

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
    rows = chosen(
        evaluated,
        metric=metric,
        part=part,
        given=given,
    )
    refuse_strategies(rows)
    per_run = rows.groupby(["run", "step", "task"])["value"].mean()
    means = per_run.groupby(["step", "task"]).mean().unstack()
    steps = range(means.index.max() + 1)
    tasks = range(means.columns.max() + 1)
    return means.reindex(index=steps, columns=tasks).to_numpy()


def forgetting_row(
    task: str,
    pair: np.ndarray,
    confidence: float,
) -> tuple[Any, ...]:
    """Row of a forgetting table: task, learned, final, and change with its bounds.

    Args:
        task: Its name.
        pair: Learned and final (2, 1 + n_resamples), the estimate first.
        confidence: Coverage of the interval.
    """
    learned, final = pair
    change = final - learned
    interval = intervals.percentile_interval(
        change[0],
        change[1:],
        confidence=confidence,
    )
    return task, learned[0], final[0], *interval


@alike
def task_table(
    evaluated: pd.DataFrame,
    *,
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """Image and pixel AUROC of the last model per task, in the slides' form.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.

    Returns:
        One row per task and one for the average: `task image_auroc pixel_auroc`.

    Example:
        >>> from analysis import evaluate
        >>> task_table(evaluate(run))["task"].tolist()
        ['0', '1', 'average']
    """
    columns = {}
    for metric in ("image_auroc", "pixel_auroc"):
        R = r_matrix(
            evaluated,
            metric=metric,
            part=part,
            given=given,
        )
        columns[metric] = R[-1]
    frame = pd.DataFrame(columns)
    frame.insert(0, "task", frame.index.astype(str))
    average = frame.mean(numeric_only=True).to_frame().T
    return pd.concat([frame, average.assign(task="average")], ignore_index=True)


@alike
def field_table(
    evaluated: pd.DataFrame,
    *,
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """ACC, FM and BWT of every metric that was measured, as tables in the field.

    How to read it: FM is positive and BWT negative for a loss; metrics of F1 and below
    choose their threshold on the test images.
    `analysis.conventions.compare_conventions` has the other quantities of these names.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.
        part: Score part.
        given: `"category"` or `"None"`.

    Returns:
        One row per metric: `metric ACC FM BWT definition`.

    Example:
        >>> from analysis import evaluate
        >>> field_table(evaluate(run))["metric"].tolist()
        ['image_auroc', 'pixel_auroc']
    """
    rows = []
    for metric in evaluated["metric"].unique():
        R = r_matrix(evaluated, metric=metric, part=part, given=given)
        definition = conventions.DEFINITIONS.get(metric, "")
        values = conventions.field_names(R)
        rows.append({"metric": metric, **values, "definition": definition})
    return pd.DataFrame(rows)


@alike
def category_scores(
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
) -> dict[str, float]:
    """Metric of each category under the last model, mean over runs.

    Of joint training it says which categories are easy: the `scores` of
    `cl_flow.data.orders.ORDERS`.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.
        metric: Which metric.
        part: Score part.
        given: `"category"` or `"None"`.

    Example:
        >>> from analysis import evaluate
        >>> sorted(category_scores(evaluate(run))) == sorted(run[-1].categories)
        True
    """
    rows = chosen(evaluated, metric=metric, part=part, given=given)
    refuse_strategies(rows)
    last = rows.groupby("run")["step"].transform("max")
    means = rows[rows["step"] == last].groupby("category")["value"].mean()
    return {str(name): float(value) for name, value in means.items()}


@alike
def summary(
    evaluated: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """Final mean, learning score, bwt and forgetting of each strategy and seed.

    Returns:
        `strategy seed final_mean learning_score bwt forgetting`; NaN where a strategy
        has no R matrix (joint).

    Example:
        >>> from analysis import evaluate
        >>> summary(evaluate(runs))["strategy"].tolist()
        ['finetune', 'joint']
    """
    rows = []
    for (strategy, seed), one in evaluated.groupby(["strategy", "seed"], sort=False):
        R = r_matrix(
            one,
            metric=metric,
            part=part,
            given=given,
        )
        rows.append((strategy, seed, *_conventions(R)))
    return pd.DataFrame(rows, columns=["strategy", "seed", *SUMMARIES])


@alike
def final_means(
    scores: pd.DataFrame,
    *,
    part: str = "product",
    given: str = "category",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Mean image AUROC of each strategy's last model, over categories and runs.

    Its interval resamples test images, the same ones for every run.

    Args:
        scores: A table of `image_scores`.
        part: Score part.
        given: `"category"` or `"None"`.
        resampling: Of the test images.

    Returns:
        One row per strategy: `strategy value low high`.

    Example:
        >>> from analysis import image_scores
        >>> final_means(image_scores(runs))["strategy"].tolist()
        ['finetune', 'joint']
    """
    rows = chosen(scores, part=part, given=given)
    rows = matching(first_and_last(rows), when="last")
    means = []
    for strategy, one in rows.groupby("strategy", sort=False):
        samples = resampled_images(one, resampling)
        weights = np.full(len(samples), 1 / len(samples))
        means.append((strategy, *contrast(weights, samples, resampling)))
    return pd.DataFrame(means, columns=["strategy", "value", "low", "high"])


def _conventions(R: np.ndarray) -> tuple[float, ...]:
    """The `SUMMARIES` of R; NaN where nothing can have been forgotten."""
    # One step that learns all tasks.
    if len(R) == 1:
        mean = float(np.mean(R[-1]))
        return mean, mean, np.nan, np.nan
    # A fresh model per task.
    if np.isnan(R[-1]).any():
        mean = float(np.mean(np.diagonal(R)))
        return mean, mean, np.nan, np.nan
    return tuple(getattr(conventions, name)(R) for name in SUMMARIES)
