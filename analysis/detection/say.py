"""Detection in sentences."""

__all__ = ["summarise", "summarise_forgetting"]

import pandas as pd

from analysis.detection.conclude import final_means, summary
from analysis.intervals import interval_of, seed_interval
from analysis.rows import alike
from analysis.words import label_of


@alike
def summarise(evaluated: pd.DataFrame, scores: pd.DataFrame | None = None) -> str:
    """Sentence on the last model of each strategy.

    Args:
        evaluated: A table of `evaluate`.
        scores: A table of `image_scores` of the same runs; image AUROC then stands
            with its interval over test images.

    Example:
        >>> from analysis import evaluate
        >>> print(summarise(evaluate(runs)))
        Over all categories and 1 seed, mean image AUROC of the last model: ...
    """
    n = evaluated["seed"].nunique()
    seeds = "seed" if n == 1 else "seeds"
    if scores is None:
        image = _final_means(evaluated, "image_auroc")
    else:
        image = _with_intervals(scores)
    pixel = _final_means(evaluated, "pixel_auroc")
    return (
        f"Over all categories and {n} {seeds}, "
        f"mean image AUROC of the last model: {image}; "
        f"mean pixel AUROC of the last model: {pixel}."
    )


def _final_means(evaluated: pd.DataFrame, metric: str) -> str:
    rows = summary(evaluated, metric=metric)
    named = []
    for strategy, values in rows.groupby("strategy", sort=False)["final_mean"]:
        mean = seed_interval(values).value
        named.append(f"{label_of(strategy)} {mean:.3f}")
    return ", ".join(named)


def _with_intervals(scores: pd.DataFrame) -> str:
    rows = final_means(scores).itertuples()
    named = [f"{label_of(row.strategy)} {interval_of(row)!r}" for row in rows]
    return f"{', '.join(named)} (intervals over test images)"


@alike
def summarise_forgetting(image: pd.DataFrame, pixel: pd.DataFrame) -> str:
    """Sentence on how much was lost, from two tables of `forgetting_table`.

    Example:
        >>> from analysis import forgetting_table
        >>> image = forgetting_table([run])
        >>> pixel = forgetting_table([run], metric="pixel_auroc")
        >>> print(summarise_forgetting(image, pixel))
        Since they were learned, image AUROC changed by ...
    """
    sentences = [_lost("image", image), _lost("pixel", pixel)]
    return f"Since they were learned, {'; '.join(sentences)}."


def _lost(name: str, table: pd.DataFrame) -> str:
    average = interval_of(table.iloc[-1], "change")
    tasks = table[table["task"] != "average"].iloc[:-1]
    n_lost = int((tasks["high"] < 0).sum())
    return (
        f"{name} AUROC changed by {average!r} on average; the change is a loss "
        f"beyond the interval for {n_lost} of {len(tasks)} earlier tasks"
    )
