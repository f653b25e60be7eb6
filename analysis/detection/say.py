"""Detection in sentences."""

__all__ = ["summarise", "summarise_forgetting"]


import pandas as pd

from analysis import intervals
from analysis.detection.conclude import summary


def summarise(evaluated: pd.DataFrame) -> str:
    """Sentence on the last model of each strategy.

    On average, from a table of `evaluate`.
    """
    sentences = []
    for metric, name in (("image_auroc", "image"), ("pixel_auroc", "pixel")):
        means = summary(evaluated, metric=metric).groupby("strategy", sort=False)[
            "final_mean"
        ]
        values = [
            f"`{key}` {intervals.seed_interval(group).value:.3f}"
            for key, group in means
        ]
        sentences.append(f"mean {name} AUROC of the last model: {', '.join(values)}")
    n = evaluated["seed"].nunique()
    return (
        f"Over all categories and {n} seed{'s' * (n > 1)}, "
        + "; ".join(sentences)
        + "."
    )


def summarise_forgetting(image: pd.DataFrame, pixel: pd.DataFrame) -> str:
    """Sentence on how much was lost, and how sure that is.

    From two tables of `forgetting_table`.
    """
    parts = []
    for name, frame in (("image", image), ("pixel", pixel)):
        average = frame.iloc[-1]
        tasks = frame[frame["task"] != "average"].iloc[:-1]
        lost = int((tasks["high"] < 0).sum())
        interval = intervals.Interval(
            average["change"], average["low"], average["high"]
        )
        parts.append(
            f"{name} AUROC changed by {interval!r} on average; the change is a loss "
            f"beyond the interval for {lost} of "
            f"{len(tasks)} earlier tasks"
        )
    return "Since they were learnt, " + "; ".join(parts) + "."
