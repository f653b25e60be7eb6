"""Centers in sentences."""

__all__ = ["DIGITS", "summarise_centers"]

from typing import Any

import numpy as np
import pandas as pd

from analysis.centers.conclude import (
    nearest_centers,
    of_one_strategy,
    similarity_correlations,
)
from analysis.intervals import Interval

DIGITS = 5


def summarise_centers(
    pairs: pd.DataFrame, drift: pd.DataFrame, *, level: str = "mean"
) -> str:
    """Sentence on distances of centers after the last step.

    How far they moved, and whether looks explain it.

    Args:
        pairs: A table of `similarity`.
        drift: A table of `center_drift` of the same runs.
        level: Number of a level, or `"mean"`.
    """
    last = pairs["step"].max()
    pairs = pairs[pairs["step"] == last]
    one = of_one_strategy(pairs, level)
    nearest = nearest_centers(pairs, level=level)
    closest = one.loc[one["center_distance"].idxmin()]
    earlier = drift[
        (drift["step"] == last)
        & (drift["level"] == level)
        & (drift["task"] < drift["task"].max())
    ]
    looks, placed, change = map(
        _in_words, similarity_correlations(pairs, level=level).itertuples()
    )
    return (
        f"After the last step centers lie {one['center_distance'].median():.2f} apart "
        "(median); the closest are "
        f"{closest['category']} and {closest['other']} at "
        f"{closest['center_distance']:.2f}, placed at "
        f"{closest['placed']:.2f}. Centers of earlier tasks have moved by "
        f"{earlier['distance'].mean():.2f} on average "
        f"since they were learnt. For {(nearest['rank'] == 1).sum()} of {len(nearest)} "
        "categories the nearest center "
        f"is that of the category most like it ({(1 / nearest['n']).sum():.1f} by "
        "chance). Spearman's correlation of "
        f"center distance is {looks} with feature distance and {placed} with the "
        "distance at placement; that of its "
        f"change since placement with feature distance is {change}."
    )


def _in_words(row: Any) -> str:
    """A row of `similarity_correlations` as text.

    What is NaN is not a number to print.
    """
    if np.isnan(row.rho):
        return "undefined (all equal)"
    return (
        f"{row.rho:.3f}"
        if np.isnan(row.low)
        else repr(Interval(row.rho, row.low, row.high))
    )
