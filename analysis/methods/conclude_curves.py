"""Conclusions on learning curves: what is reached for which time."""

__all__ = ["learning_curve"]

import pandas as pd

from analysis.intervals import seed_interval
from analysis.rows import chosen, of_tables


@of_tables
def learning_curve(
    measured: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    part: str = "product",
    given: str | None = "category",
) -> pd.DataFrame:
    """AUROC of the last model by passes and by seconds, means over categories.

    How to read it: compare methods at equal seconds; at equal passes they have seen as
    many images, and may have worked much longer on each.

    Args:
        measured: Of `measure_learning_curve`, of runs of several lengths.
        metric: Of detection.
        part: Score part.
        given: `"category"` or None.

    Returns:
        One row per `method strategy passes`: `parameters images seconds`, means over
        seeds, and `value low high seeds` with Student's interval over seeds.

    Example:
        >>> from analysis.methods import measure_learning_curve
        >>> learning_curve(measure_learning_curve(runs))["method"].tolist()
        ['finetune', 'joint']
    """
    rows = chosen(measured, metric=metric, part=part, given=given)
    keys = ["method", "strategy", "passes"]
    costs = ["parameters", "images", "seconds"]
    runs = rows.groupby([*keys, "run"], sort=False)[[*costs, "value"]]
    out = []
    for key, group in runs.mean().groupby(level=keys, sort=False):
        cost = group[costs].mean()
        out.append((*key, *cost, *seed_interval(group["value"]), len(group)))
    columns = [*keys, *costs, "value", "low", "high", "seeds"]
    return pd.DataFrame(out, columns=columns)
