"""Conclusions on centers: whether categories that look alike become neighbours."""

__all__ = ["nearest_centers", "of_one_strategy", "pair_rows", "similarity_correlations"]

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.intervals import Interval, Resampling, percentile_interval
from analysis.rows import alike, chosen, refuse_strategies

CORRELATED = (
    ("feature_distance", "center_distance"),
    ("placed", "center_distance"),
    ("feature_distance", "change"),
)

# With fewer categories a resample repeats so many that its spread says nothing.
FEWEST = 5


@alike
def nearest_centers(pairs: pd.DataFrame, *, level: str = "mean") -> pd.DataFrame:
    """Nearest center of each category after each step, and its lookalike.

    Args:
        pairs: A table of `similarity`, of runs of one strategy.
        level: Number of a level, or `"mean"`.

    Returns:
        One row per `step category`: its `nearest` center at `distance`, `placed` at
        that distance; the `lookalike` (nearest mean features); and the `rank` of the
        nearest center by looks, from 1, the lookalike, to `n`, the number of other
        categories.

    Example:
        >>> from analysis.centers import similarity
        >>> nearest = nearest_centers(similarity(run))
        >>> nearest[["step", "category", "n"]].tail(1).to_numpy().tolist()
        [[1, 'fox', 5]]
    """
    once = of_one_strategy(pairs, level)
    turned = once.rename(columns={"category": "other", "other": "category"})
    both = pd.concat([once, turned], ignore_index=True)
    of_each = both.groupby(["step", "category"], sort=False)
    both["rank"] = of_each["feature_distance"].rank(method="min").astype(int)
    both["n"] = of_each["step"].transform("size")
    nearest = both.loc[of_each["center_distance"].idxmin()].reset_index(drop=True)
    alike = both.loc[of_each["feature_distance"].idxmin(), "other"]
    nearest["lookalike"] = alike.to_numpy()
    names = {"other": "nearest", "center_distance": "distance"}
    columns = [
        "step",
        "category",
        "nearest",
        "distance",
        "placed",
        "lookalike",
        "rank",
        "n",
    ]
    in_order = nearest.sort_values(
        "step",
        kind="stable",
        ignore_index=True,
    )
    return in_order.rename(columns=names)[columns]


@alike
def similarity_correlations(
    pairs: pd.DataFrame,
    *,
    level: str = "mean",
    resampling: Resampling = Resampling(n_resamples=2000),
    random_state: int = 0,
) -> pd.DataFrame:
    """Spearman's correlations of looks, placement and center distance.

    They are taken over pairs of categories, after each step.

    Center distance against looks is the question; against the distance at placement is
    its rival; and the `change` since placement against looks is what training alone may
    have made of them. The interval resamples categories, not pairs: one odd category
    takes part in K − 1 pairs, which are not independent. A resample holds no pair of a
    category with itself.

    Args:
        pairs: A table of `similarity`, of runs of one strategy; their distances are
            averaged.
        level: Number of a level, or `"mean"`.
        resampling: Of the categories.
        random_state: Seed of the resamples.

    Returns:
        One row per `step x y`, x and y being columns of the pairs: `rho low high`, and
        the number of `categories`. The interval is NaN below 5 categories, rho where x
        or y is the same for all pairs.

    Example:
        >>> from analysis.centers import similarity
        >>> found = similarity_correlations(similarity(run))
        >>> found[["x", "y"]].drop_duplicates().to_numpy().tolist()
        [['feature_distance', 'center_distance'], ['placed', 'center_distance'],
        ['feature_distance', 'change']]
    """
    rows = []
    for step, one in of_one_strategy(pairs, level).groupby("step"):
        times, n = _resampled_pairs(one, resampling.n_resamples, random_state)
        for x, y in CORRELATED:
            rho = _spearman(one[x].to_numpy(), one[y].to_numpy(), times)
            interval = _interval(rho, n, resampling.confidence)
            rows.append((step, x, y, *interval, n))
    columns = ["step", "x", "y", "rho", "low", "high", "categories"]
    return pd.DataFrame(rows, columns=columns)


def _resampled_pairs(
    pairs: pd.DataFrame,
    n_resamples: int,
    random_state: int,
) -> tuple[np.ndarray, int]:
    """Resamples of the categories, as multiplicities of their pairs.

    Returns:
        How often each pair occurs (1 + n_resamples, P), the pairs as they are first;
        and the number of categories.
    """
    both = pd.concat([pairs["category"], pairs["other"]])
    codes, names = pd.factorize(both)
    n = len(names)
    generator = np.random.default_rng(random_state)
    draws = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    first, second = codes.reshape(2, -1)
    times = draws[:, first] * draws[:, second]
    return np.vstack([np.ones(len(pairs)), times]), n


def pair_rows(values: dict[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Matrices (L, K, K) as one row per `level category other`, and their mean."""
    columns = {}
    for key, matrices in values.items():
        mean = matrices.mean(0, keepdims=True)
        columns[key] = np.concatenate([matrices, mean]).ravel()
    levels = [*map(str, range(len(matrices))), "mean"]
    index = pd.MultiIndex.from_product(
        [levels, names, names],
        names=["level", "category", "other"],
    )
    return pd.DataFrame(columns, index=index).reset_index()


@alike
def of_one_strategy(pairs: pd.DataFrame, level: str) -> pd.DataFrame:
    """Pairs of one level, averaged over runs of one strategy."""
    refuse_strategies(pairs)
    rows = chosen(pairs, level=level)
    keys = ["strategy", "step", "level", "task", "category", "other_task", "other"]
    values = ["feature_distance", "center_distance", "placed", "change"]
    return rows.groupby(keys, sort=False)[values].mean().reset_index()


def _spearman(
    x: np.ndarray,
    y: np.ndarray,
    times: np.ndarray,
) -> np.ndarray:
    """Spearman's rho (R,) of values (P,) that occur so many `times` (R, P).

    NaN where all x or all y are equal.
    """
    n = times.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = _centered(_ranks(x, times), times, n)
        b = _centered(_ranks(y, times), times, n)
        squares = (times * a**2).sum(1) * (times * b**2).sum(1)
        return (times * a * b).sum(1) / np.sqrt(squares)


def _centered(
    ranks: np.ndarray,
    times: np.ndarray,
    n: np.ndarray,
) -> np.ndarray:
    total = (times * ranks).sum(1, keepdims=True)
    return ranks - total / n


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean ranks (R, P) of values (P,) that occur so many `times` (R, P)."""
    _, group = np.unique(values, return_inverse=True)
    members = np.eye(group.max() + 1)[group]
    sizes = times @ members
    ranks = sizes.cumsum(1) - (sizes - 1) / 2
    return ranks[:, group]


def _interval(
    rho: np.ndarray,
    n_categories: int,
    confidence: float,
) -> Interval:
    """The first rho among the percentiles of the others; bounds NaN where unknown."""
    estimate = rho[0]
    samples = rho[1:]
    if n_categories < FEWEST or np.isnan(estimate):
        return Interval(estimate, np.nan, np.nan)
    defined = samples[~np.isnan(samples)]
    return percentile_interval(estimate, defined, confidence=confidence)
