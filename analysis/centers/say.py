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
from analysis.intervals import interval_of
from analysis.rows import alike, matching

DIGITS = 5


@alike
def summarise_centers(
    pairs: pd.DataFrame,
    drift: pd.DataFrame,
    *,
    level: str = "mean",
) -> str:
    """Sentences on centers after the last step.

    How far they lie apart, how far they moved, and whether looks explain it.

    Args:
        pairs: A table of `similarity`.
        drift: A table of `center_drift` of the same runs.
        level: Number of a level, or `"mean"`.

    Example:
        >>> from analysis.centers import center_drift, similarity
        >>> print(summarise_centers(similarity(run), center_drift(run)))
        After the last step centers lie ...
    """
    last = pairs["step"].max()
    pairs = matching(pairs, step=last)
    earlier = drift[drift["task"] < drift["task"].max()]
    moved = matching(
        earlier,
        step=last,
        level=level,
    )["distance"].mean()
    sentences = [
        _apart(of_one_strategy(pairs, level)),
        f"Centers of earlier tasks have moved by {moved:.2f} on average "
        "since they were learned",
        _alike(nearest_centers(pairs, level=level)),
        _correlated(similarity_correlations(pairs, level=level)),
    ]
    return ". ".join(sentences) + "."


def _apart(pairs: pd.DataFrame) -> str:
    distances = pairs["center_distance"]
    closest = pairs.loc[distances.idxmin()]
    return (
        f"After the last step centers lie {distances.median():.2f} apart (median); "
        f"the closest are {closest['category']} and {closest['other']} "
        f"at {closest['center_distance']:.2f}, placed at {closest['placed']:.2f}"
    )


def _alike(nearest: pd.DataFrame) -> str:
    n_alike = (nearest["rank"] == 1).sum()
    by_chance = (1 / nearest["n"]).sum()
    return (
        f"For {n_alike} of {len(nearest)} categories the nearest center is that "
        f"of the category most like it ({by_chance:.1f} by chance)"
    )


def _correlated(correlations: pd.DataFrame) -> str:
    looks, placed, change = map(_in_words, correlations.itertuples())
    return (
        f"Spearman's correlation of center distance is {looks} with feature distance "
        f"and {placed} with the distance at placement; that of its change since "
        f"placement with feature distance is {change}"
    )


def _in_words(row: Any) -> str:
    """A row of `similarity_correlations` as text, without the numbers that are NaN."""
    if np.isnan(row.rho):
        return "undefined (all equal)"
    if np.isnan(row.low):
        return f"{row.rho:.3f}"
    return repr(interval_of(row, "rho"))
