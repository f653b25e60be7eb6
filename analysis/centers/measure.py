"""Where the class centers lie, how far they move, and whether categories that look alike become neighbours."""

__all__ = [
    "center_distances",
    "center_drift",
    "nearest_centers",
    "similarity",
    "similarity_correlations",
    "similarity_correlations",
    "summarise_centers",
]

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from analysis.intervals import Interval, percentile_interval
from analysis.tables import table
from cl_flow.features import Features
from cl_flow.flow import FlowModel
from cl_flow.run import Run

CORRELATED = (("feature_distance", "center_distance"), ("placed", "center_distance"), ("feature_distance", "change"))
DIGITS = 5
FEWEST = 5  # with fewer categories a resample of them repeats so many that its spread says nothing


# ---- tables of runs


@table
def center_distances(run: Run) -> pd.DataFrame:
    """Euclidean distance between every two main centers after each step.

    The unit is the standard deviation of a mixture component; HGAD places centers 5 apart, at every level, and the
    mean over levels keeps that scale. How to read it: what is closer than `placed` was drawn together by training. A
    placement may itself put a new class closer to some old ones, so compare with `placed` before blaming the data.

    Args:
        run: One run, or many.

    Returns:
        One row per `step level category other` (both orders, and each with itself) with the categories' tasks `task`
        and `other_task`: `distance`, and `placed`, the distance when the later of the two had just been placed and
        not been trained. `level` is the number of a level, or `"mean"` over all.
    """
    frames, placed = [], None
    for step in range(len(run)):
        placed = _placed_distances(run, step, placed)
        values = {"distance": _distances(run[step].model()), "placed": placed}
        frames.append(_pairs(values, run[step].categories).assign(step=step))
    frame = pd.concat(frames, ignore_index=True)
    task = {name: index for index, names in enumerate(run.tasks) for name in names}
    frame = frame.assign(task=frame["category"].map(task), other_task=frame["other"].map(task))
    return frame[["step", "level", "task", "category", "other_task", "other", "distance", "placed"]]


@table
def center_drift(run: Run) -> pd.DataFrame:
    """How far each main center lies from where it was when its task had just been learnt.

    How to read it: 0 at its own step by definition, and for ever where old centers are frozen. A center that moved
    along with its latents has harmed nobody: hold it against the distances between centers, and against the latents.

    Args:
        run: One run, or many.

    Returns:
        One row per `step level task category`, from the step its task was learnt at: `distance`, in standard
        deviations of a component. `level` is the number of a level, or `"mean"` over all.
    """
    learnt: dict[str, np.ndarray] = {}
    rows = []
    for step in range(len(run)):
        model = run[step].model()
        mu = [level.mixture.mu.detach().double().numpy() for level in model.levels]
        for k, category in enumerate(model.categories):
            here = [centers[k] for centers in mu]
            moved = [np.linalg.norm(a - b) for a, b in zip(here, learnt.setdefault(category, here))]
            task = next(t for t, names in enumerate(run.tasks) if category in names)
            rows += [(step, str(i), task, category, distance) for i, distance in enumerate(moved)]
            rows.append((step, "mean", task, category, np.mean(moved)))
    return pd.DataFrame(rows, columns=["step", "level", "task", "category", "distance"])


@table
def similarity(run: Run) -> pd.DataFrame:
    """How alike two categories look to the backbone, beside how close their centers lie after each step.

    Likeness is measured where nothing is learnt: the Euclidean distance between the two categories' mean features,
    over normal training images and positions, as the run takes them (whitened or raw).

    Args:
        run: One run, or many.

    Returns:
        One row per `step level category other`, each pair once, with its tasks `task other_task`:
        `feature_distance center_distance placed`, and the `change` of center distance since placement. `level` is the
        number of a level, or `"mean"` over all.

    Raises:
        ValueError: The run has a single category.
    """
    names = [name for task in run.tasks for name in task]
    if len(names) < 2:
        raise ValueError(f"Expected at least two categories to compare; got {', '.join(names)}.")
    looks = _pairs({"feature_distance": _feature_distances(run, names)}, names)
    frame = center_distances(run).drop(columns=["run", "strategy", "seed"])
    frame = frame.rename(columns={"distance": "center_distance"}).merge(looks, on=["level", "category", "other"])
    frame["change"] = (frame["center_distance"] - frame["placed"]).round(DIGITS)
    order = {name: i for i, name in enumerate(names)}
    first = frame["category"].map(order) < frame["other"].map(order)
    keys = ["step", "level", "task", "category", "other_task", "other"]
    return frame.loc[first, [*keys, "feature_distance", "center_distance", "placed", "change"]].reset_index(drop=True)


# ---- from tables to conclusions


def nearest_centers(pairs: pd.DataFrame, *, level: str = "mean") -> pd.DataFrame:
    """Each category's nearest center after each step, and whether it is the one that looks most alike.

    Args:
        pairs: A table of `similarity`, of runs of one strategy.
        level: Number of a level, or `"mean"`.

    Returns:
        One row per `step category`: its `nearest` center at `distance`, `placed` at that distance; the `lookalike`
        (nearest mean features); and the `rank` of the nearest center by looks, from 1, the lookalike, to `n`, the
        number of other categories.
    """
    once = _one_strategy(pairs, level)
    both = pd.concat([once, once.rename(columns={"category": "other", "other": "category"})], ignore_index=True)
    of_each = both.groupby(["step", "category"], sort=False)
    both["rank"] = of_each["feature_distance"].rank(method="min").astype(int)
    both["n"] = of_each["step"].transform("size")
    nearest = both.loc[of_each["center_distance"].idxmin()].reset_index(drop=True)
    nearest["lookalike"] = both.loc[of_each["feature_distance"].idxmin(), "other"].to_numpy()
    nearest = nearest.rename(columns={"other": "nearest", "center_distance": "distance"})
    columns = ["step", "category", "nearest", "distance", "placed", "lookalike", "rank", "n"]
    return nearest.sort_values("step", kind="stable", ignore_index=True)[columns]


def similarity_correlations(
    pairs: pd.DataFrame,
    *,
    level: str = "mean",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> pd.DataFrame:
    """Spearman's correlations between looks, placement and center distance over pairs of categories, after each step.

    Center distance against looks is the question; against the distance at placement is its rival; and the `change`
    since placement against looks is what training alone may have made of them. The interval resamples categories, not
    pairs: one odd category takes part in K − 1 pairs, which are not independent. A resample holds no pair of a category
    with itself.

    Args:
        pairs: A table of `similarity`, of runs of one strategy; their distances are averaged.
        level: Number of a level, or `"mean"`.
        n_resamples: Bootstrap resamples.
        confidence: Of the interval.
        random_state: Seed of the resamples.

    Returns:
        One row per `step x y`, x and y being columns of the pairs: `rho low high`, and the number of `categories`. The
        interval is NaN below 5 categories, rho where x or y is the same for all pairs.
    """
    rows = []
    for step, one in _one_strategy(pairs, level).groupby("step"):
        codes, names = pd.factorize(pd.concat([one["category"], one["other"]]))
        n = len(names)
        draws = np.random.default_rng(random_state).multinomial(n, np.full(n, 1 / n), size=n_resamples)
        times = draws[:, codes[: len(one)]] * draws[:, codes[len(one) :]]
        for x, y in CORRELATED:
            rho = _spearman(one[x].to_numpy(), one[y].to_numpy(), np.vstack([np.ones(len(one)), times]))
            rows.append((step, x, y, *_interval(rho[0], rho[1:], n, confidence), n))
    return pd.DataFrame(rows, columns=["step", "x", "y", "rho", "low", "high", "categories"])


def summarise_centers(pairs: pd.DataFrame, drift: pd.DataFrame, *, level: str = "mean") -> str:
    """A sentence on how far centers are apart, how far they moved and whether looks explain it, after the last step.

    Args:
        pairs: A table of `similarity`.
        drift: A table of `center_drift` of the same runs.
        level: Number of a level, or `"mean"`.
    """
    last = pairs["step"].max()
    pairs = pairs[pairs["step"] == last]
    one, nearest = _one_strategy(pairs, level), nearest_centers(pairs, level=level)
    closest = one.loc[one["center_distance"].idxmin()]
    earlier = drift[(drift["step"] == last) & (drift["level"] == level) & (drift["task"] < drift["task"].max())]
    looks, placed, change = map(_in_words, similarity_correlations(pairs, level=level).itertuples())
    return (
        f"After the last step centers lie {one['center_distance'].median():.2f} apart (median); the closest are "
        f"{closest['category']} and {closest['other']} at {closest['center_distance']:.2f}, placed at "
        f"{closest['placed']:.2f}. Centers of earlier tasks have moved by {earlier['distance'].mean():.2f} on average "
        f"since they were learnt. For {(nearest['rank'] == 1).sum()} of {len(nearest)} categories the nearest center "
        f"is that of the category most like it ({(1 / nearest['n']).sum():.1f} by chance). Spearman's correlation of "
        f"center distance is {looks} with feature distance and {placed} with the distance at placement; that of its "
        f"change since placement with feature distance is {change}."
    )


def _in_words(row: Any) -> str:
    """A row of `similarity_correlations` as text; what is NaN is not a number to print."""
    if np.isnan(row.rho):
        return "undefined (all equal)"
    return f"{row.rho:.3f}" if np.isnan(row.low) else repr(Interval(row.rho, row.low, row.high))


# ---- geometry


def _placed_distances(run: Run, step: int, before: np.ndarray | None) -> np.ndarray:
    """Per level the distances (L, K, K) at placement; pairs that an earlier step placed keep theirs from `before`."""
    known = run[step].categories
    earlier = run[step - 1] if step else None
    grows = earlier is not None and known[: len(earlier.categories)] == earlier.categories
    model = earlier.model() if grows else run[step].model().fresh()
    n_old = model.n_classes
    if n_old < len(known):
        model.expand_(known[n_old:])
    values = _distances(model)
    if grows:
        values[:, :n_old, :n_old] = before
    return values


def _distances(model: FlowModel) -> np.ndarray:
    """Per level the distances between main centers (L, K, K); rounded, so that what was placed at 5 is tied at 5."""
    return np.stack([_between(level.mixture.mu.detach().double().numpy()) for level in model.levels]).round(DIGITS)


def _between(points: np.ndarray) -> np.ndarray:
    return squareform(pdist(points))


def _feature_distances(run: Run, names: Sequence[str]) -> np.ndarray:
    """Per level the distances between the categories' mean features (L, K, K)."""
    normal = run.features.where(split="train", label=0)
    means = [_mean_features(normal.where(category=name)) for name in names]
    return np.stack([_between(np.stack(level)) for level in zip(*means)])


def _mean_features(features: Features) -> list[np.ndarray]:
    """Per level the mean (D,) over images and positions."""
    sums = [[x.double().mean(1).sum(0) for x in batch] for batch in features.batches()]
    return [(sum(level) / len(features)).numpy() for level in zip(*sums)]


def _pairs(values: dict[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Matrices (L, K, K) as one row per `level category other`, the mean over levels added."""
    n_levels = len(next(iter(values.values())))
    levels = [*map(str, range(n_levels)), "mean"]
    index = pd.MultiIndex.from_product([levels, names, names], names=["level", "category", "other"])
    columns = {key: np.concatenate([one, one.mean(0, keepdims=True)]).ravel() for key, one in values.items()}
    return pd.DataFrame(columns, index=index).reset_index()


# ---- correlation


def _one_strategy(pairs: pd.DataFrame, level: str) -> pd.DataFrame:
    """The pairs of one level, averaged over runs."""
    if pairs["strategy"].nunique() > 1:
        raise ValueError(f"Expected runs of one strategy; got {', '.join(sorted(pairs['strategy'].unique()))}.")
    rows = pairs[pairs["level"] == level]
    if rows.empty:
        raise KeyError(f"Unknown level {level!r}; known: {', '.join(pairs['level'].unique())}.")
    keys = ["strategy", "step", "level", "task", "category", "other_task", "other"]
    return (
        rows.groupby(keys, sort=False)[["feature_distance", "center_distance", "placed", "change"]].mean().reset_index()
    )


def _spearman(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Spearman's rho (R,) of values (P,) that occur so many `times` (R, P); NaN where all x or all y are equal."""
    ranks = [_ranks(values, times) for values in (x, y)]
    n = times.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (rank - (times * rank).sum(1, keepdims=True) / n for rank in ranks)
        return (times * a * b).sum(1) / np.sqrt((times * a**2).sum(1) * (times * b**2).sum(1))


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean ranks (R, P) of values (P,) that occur so many `times` (R, P)."""
    _, group = np.unique(values, return_inverse=True)
    sizes = times @ np.eye(group.max() + 1)[group]
    return (sizes.cumsum(1) - (sizes - 1) / 2)[:, group]


def _interval(rho: float, samples: np.ndarray, n_categories: int, confidence: float) -> Interval:
    defined = samples[~np.isnan(samples)]
    if n_categories < FEWEST or np.isnan(rho):
        return Interval(rho, np.nan, np.nan)
    return percentile_interval(rho, defined, confidence=confidence)
