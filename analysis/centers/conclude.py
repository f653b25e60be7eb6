"""Whether categories that look alike become neighbours."""

__all__ = ["nearest_centers", "of_one_strategy", "pair_rows", "similarity_correlations"]

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.intervals import Interval, Resampling, percentile_interval

CORRELATED = (
    ("feature_distance", "center_distance"),
    ("placed", "center_distance"),
    ("feature_distance", "change"),
)


# With fewer categories a resample repeats so many that its spread says nothing.
FEWEST = 5


def nearest_centers(pairs: pd.DataFrame, *, level: str = "mean") -> pd.DataFrame:
    """Nearest center of each category after each step.

    And whether it is the one that looks most alike.

    Args:
        pairs: A table of `similarity`, of runs of one strategy.
        level: Number of a level, or `"mean"`.

    Returns:
        One row per `step category`: its `nearest` center at `distance`, `placed` at
        that distance; the `lookalike` (nearest mean features); and the `rank` of the
        nearest center by looks, from 1, the lookalike, to `n`, the number of other
        categories.
    """
    once = of_one_strategy(pairs, level)
    both = pd.concat(
        [once, once.rename(columns={"category": "other", "other": "category"})],
        ignore_index=True,
    )
    of_each = both.groupby(["step", "category"], sort=False)
    both["rank"] = of_each["feature_distance"].rank(method="min").astype(int)
    both["n"] = of_each["step"].transform("size")
    nearest = both.loc[of_each["center_distance"].idxmin()].reset_index(drop=True)
    nearest["lookalike"] = both.loc[
        of_each["feature_distance"].idxmin(), "other"
    ].to_numpy()
    nearest = nearest.rename(
        columns={"other": "nearest", "center_distance": "distance"}
    )
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
    return nearest.sort_values("step", kind="stable", ignore_index=True)[columns]


def similarity_correlations(
    pairs: pd.DataFrame,
    *,
    level: str = "mean",
    resampling: Resampling = Resampling(n_resamples=2000),
    random_state: int = 0,
) -> pd.DataFrame:
    """Correlations of looks, placement and center distance.

    Spearman's, over pairs of categories, after each step.

    Center distance against looks is the question; against the distance at placement is
    its rival; and the `change` since placement against looks is what training alone may
    have made of them. The interval resamples categories, not pairs: one odd category
    takes part in K − 1 pairs, which are not independent. A resample holds no pair of a
    category with itself.

    Args:
        pairs: A table of `similarity`, of runs of one strategy; their distances are
            averaged.
        level: Number of a level, or `"mean"`.
        resampling: Of the test images.
        random_state: Seed of the resamples.

    Returns:
        One row per `step x y`, x and y being columns of the pairs: `rho low high`, and
        the number of `categories`. The interval is NaN below 5 categories, rho where x
        or y is the same for all pairs.
    """
    rows = []
    for step, one in of_one_strategy(pairs, level).groupby("step"):
        codes, names = pd.factorize(pd.concat([one["category"], one["other"]]))
        n = len(names)
        draws = np.random.default_rng(random_state).multinomial(
            n, np.full(n, 1 / n), size=resampling.n_resamples
        )
        times = draws[:, codes[: len(one)]] * draws[:, codes[len(one) :]]
        for x, y in CORRELATED:
            rho = _spearman(
                one[x].to_numpy(),
                one[y].to_numpy(),
                np.vstack([np.ones(len(one)), times]),
            )
            rows.append(
                (step, x, y, *_interval(rho[0], rho[1:], n, resampling.confidence), n)
            )
    return pd.DataFrame(
        rows, columns=["step", "x", "y", "rho", "low", "high", "categories"]
    )


def pair_rows(values: dict[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Matrices (L, K, K) as one row per `level category other`.

    The mean over levels is added.
    """
    n_levels = len(next(iter(values.values())))
    levels = [*map(str, range(n_levels)), "mean"]
    index = pd.MultiIndex.from_product(
        [levels, names, names], names=["level", "category", "other"]
    )
    columns = {
        key: np.concatenate([one, one.mean(0, keepdims=True)]).ravel()
        for key, one in values.items()
    }
    return pd.DataFrame(columns, index=index).reset_index()


def of_one_strategy(pairs: pd.DataFrame, level: str) -> pd.DataFrame:
    """The pairs of one level, averaged over runs."""
    if pairs["strategy"].nunique() > 1:
        raise ValueError(
            "Expected runs of one strategy; got "
            f"{', '.join(sorted(pairs['strategy'].unique()))}."
        )
    rows = pairs[pairs["level"] == level]
    if rows.empty:
        raise KeyError(
            f"Unknown level {level!r}; known: {', '.join(pairs['level'].unique())}."
        )
    keys = ["strategy", "step", "level", "task", "category", "other_task", "other"]
    return (
        rows.groupby(keys, sort=False)[
            ["feature_distance", "center_distance", "placed", "change"]
        ]
        .mean()
        .reset_index()
    )


def _spearman(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Spearman's rho (R,) of values (P,) that occur several times.

    So many `times` (R, P); NaN where all x or all y are equal.
    """
    ranks = [_ranks(values, times) for values in (x, y)]
    n = times.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (rank - (times * rank).sum(1, keepdims=True) / n for rank in ranks)
        return (times * a * b).sum(1) / np.sqrt(
            (times * a**2).sum(1) * (times * b**2).sum(1)
        )


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean ranks (R, P) of values (P,) that occur several times.

    So many `times` (R, P).
    """
    _, group = np.unique(values, return_inverse=True)
    sizes = times @ np.eye(group.max() + 1)[group]
    return (sizes.cumsum(1) - (sizes - 1) / 2)[:, group]


def _interval(
    rho: float, samples: np.ndarray, n_categories: int, confidence: float
) -> Interval:
    defined = samples[~np.isnan(samples)]
    if n_categories < FEWEST or np.isnan(rho):
        return Interval(rho, np.nan, np.nan)
    return percentile_interval(rho, defined, confidence=confidence)
