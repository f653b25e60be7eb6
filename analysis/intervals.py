"""Intervals: bootstraps over test images, and Student's over seeds."""

__all__ = [
    "Interval",
    "Resampling",
    "bootstrap_auroc",
    "bootstrap_auroc_samples",
    "bootstrap_mean_difference",
    "bootstrap_wins_samples",
    "interval_of",
    "paired_bootstrap",
    "percentile_interval",
    "pixel_wins",
    "seed_interval",
]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from analysis.metrics import image_auroc, labels_and_scores
from cl_flow.identity import settle

Statistic = Callable[[np.ndarray, np.ndarray], float]
Seed = int | Sequence[int]


@dataclass(frozen=True)
class Resampling:
    """Bootstrap resamples, and coverage of intervals.

    Args:
        n_resamples: Bootstrap resamples.
        confidence: Coverage of the percentile interval.

    Example:
        >>> Resampling(n_resamples=200)
        Resampling(n_resamples=200, confidence=0.95)
    """

    n_resamples: int = 1000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        settle(self)


class Interval(NamedTuple):
    """Estimate with its lower and upper confidence bound.

    Example:
        >>> Interval(0.123, 0.1, 0.15)
        0.123 [0.100, 0.150]
    """

    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval_of(row: Any, name: str = "value", *, prefix: str = "") -> Interval:
    """Return the interval that a row of a table holds.

    Args:
        row: Of `DataFrame.itertuples`, or any object with these attributes.
        name: Attribute of the estimate.
        prefix: Before the names `low` and `high` of the bounds.

    Example:
        >>> from types import SimpleNamespace
        >>> interval_of(SimpleNamespace(value=0.9, low=0.8, high=1.0))
        0.900 [0.800, 1.000]
    """
    low = getattr(row, f"{prefix}low")
    high = getattr(row, f"{prefix}high")
    return Interval(getattr(row, name), low, high)


def bootstrap_auroc_samples(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    n_resamples: int = 1000,
    random_state: Seed = 0,
) -> np.ndarray:
    """Return the image AUROC of resamples (n_resamples,).

    The images are drawn within each class.

    Equal labels and an equal `random_state` draw the same images: the difference of two
    calls is a paired resample. Use another `random_state` per category where categories
    are to be independent.

    Example:
        >>> samples = bootstrap_auroc_samples([0, 1, 1], [1, 2, 3], n_resamples=100)
        >>> samples.shape, float(samples.min())
        ((100,), 1.0)
    """
    labels, scores = labels_and_scores(labels, scores, ndim=1)
    positives = scores[labels]
    negatives = scores[~labels]
    draws = _draws(positives.size, negatives.size, n_resamples, random_state)
    wins = np.greater.outer(positives, negatives) + 0.5 * np.equal.outer(
        positives, negatives
    )
    return np.einsum("rn,rn->r", draws[0] @ wins, draws[1]) / wins.size


def bootstrap_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: Seed = 0,
) -> Interval:
    """Return the image AUROC with a bootstrap interval.

    Stratified percentiles over the images.

    Two perfectly separated classes are separated in every resample: [1, 1] then says
    that the images at hand never erred, not that the next one will not.

    Example:
        >>> bootstrap_auroc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], n_resamples=100)
        1.000 [1.000, 1.000]
    """
    samples = bootstrap_auroc_samples(
        labels, scores, n_resamples=n_resamples, random_state=random_state
    )
    return percentile_interval(
        image_auroc(labels, scores), samples, confidence=confidence
    )


def paired_bootstrap(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    *,
    statistic: Statistic = image_auroc,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> Interval:
    """Return a difference of statistics with its paired bootstrap interval.

    `statistic(labels, scores_a) − statistic(labels, scores_b)`.

    Both models see the same resampled images, so what an image does to both of them
    cancels. With the scores after the last task as a and those after learning as b it
    is one task's signed `bwt`.

    Args:
        labels: 0 or 1 per image, (B,).
        scores_a: The one model's image scores, (B,).
        scores_b: The other's, of the same images in the same order, (B,).
        statistic: Called as `statistic(labels, scores)`; `image_auroc` is vectorised
            over the resamples.
        n_resamples: Resamples of the images.
        confidence: Coverage of the percentile interval.
        random_state: Seed of the resamples.

    Example:
        >>> labels, before, after = [0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4]
        >>> paired_bootstrap(labels, after, before, n_resamples=200).value
        -0.25
    """
    return bootstrap_mean_difference(
        [(labels, scores_a, scores_b)],
        statistic=statistic,
        n_resamples=n_resamples,
        confidence=confidence,
        random_state=random_state,
    )


def bootstrap_mean_difference(
    categories: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    statistic: Statistic = image_auroc,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> Interval:
    """Return the mean over categories of the difference in `paired_bootstrap`.

    Each category resamples by itself.

    Args:
        categories: `(labels, scores_a, scores_b)` per category; all other arguments are
            those of `paired_bootstrap`.

    Example:
        >>> labels, better, worse = [0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1]
        >>> bootstrap_mean_difference([(labels, better, worse)])
        1.000 [1.000, 1.000]
    """
    values = []
    samples = []
    for i, category in enumerate(categories):
        labels, a, b = map(np.asarray, category)
        pair = [
            _resampled(labels, scores, statistic, n_resamples, (random_state, i))
            for scores in (a, b)
        ]
        values.append(statistic(labels, a) - statistic(labels, b))
        samples.append(pair[0] - pair[1])
    if not values:
        raise ValueError("Expected at least one category; got none.")
    return percentile_interval(
        float(np.mean(values)), np.mean(samples, axis=0), confidence=confidence
    )


def percentile_interval(
    value: float, samples: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Return `value` between percentiles of its bootstrap samples.

    Those (n_resamples,) that hold `confidence`.

    Example:
        >>> percentile_interval(0.5, [0.25, 0.5, 0.75], confidence=0.5)
        0.500 [0.375, 0.625]
    """
    low, high = np.quantile(
        np.asarray(samples), [(1 - confidence) / 2, (1 + confidence) / 2]
    )
    return Interval(float(value), float(low), float(high))


def seed_interval(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return the mean over seeds, (n,), with its Student-t interval.

    The bounds of a single seed are NaN.

    Example:
        >>> seed_interval([0.90, 0.92, 0.94])
        0.920 [0.870, 0.970]
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"Expected one value per seed, (n,) with n ≥ 1; got shape {values.shape}."
        )
    mean = values.mean()
    if values.size == 1:
        return Interval(float(mean), np.nan, np.nan)
    error = values.std(ddof=1) / np.sqrt(values.size)
    margin = stdtrit(values.size - 1, (1 + confidence) / 2) * error
    return Interval(float(mean), float(mean - margin), float(mean + margin))


def pixel_wins(masks: ArrayLike, maps: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Count wins of defective pixels over normal ones, pair by pair.

    For each pair of images, how often a defective pixel of one outscores a normal pixel
    of the other.

    The pixel AUROC of any resample of the images is a weighted mean of these counts, so
    its bootstrap needs no pixels.

    Args:
        masks: Defective pixels, (B, H, W).
        maps: Anomaly maps, (B, H, W).

    Returns:
        Wins (B, B), a tie counting one half, and pairs (B, B): row of the defective,
        column of the normal pixel.

    Raises:
        ValueError: As `pixel_auroc`.

    Example:
        >>> wins, pairs = pixel_wins([[[0, 1]], [[0, 0]]], [[[1.0, 3.0]], [[2.0, 4.0]]])
        >>> wins.tolist(), pairs.tolist()
        ([[1.0, 1.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]])
    """
    masks, maps = labels_and_scores(masks, maps, ndim=3)
    wins = np.zeros((len(masks), len(masks)))
    positives = [values[mask] for mask, values in zip(masks, maps, strict=True)]
    stops = np.cumsum([len(values) for values in positives])
    together = np.concatenate(positives)
    order = np.argsort(together)  # ascending, a search stays where the last one ended
    together = together[order]
    below = np.empty(len(order))
    for column, (mask, values) in enumerate(zip(masks, maps, strict=True)):
        negatives = np.sort(values[~mask])
        sides = [
            np.searchsorted(negatives, together, side) for side in ("left", "right")
        ]
        below[order] = np.add(*sides) / 2
        wins[:, column] = np.diff(
            np.concatenate([[0.0], np.cumsum(below)])[np.concatenate([[0], stops])]
        )
    return wins, np.outer(np.diff(stops, prepend=0), (~masks).sum((1, 2))).astype(float)


def bootstrap_wins_samples(
    wins: ArrayLike,
    pairs: ArrayLike,
    *,
    n_resamples: int = 1000,
    random_state: Seed = 0,
) -> np.ndarray:
    """Return the pixel AUROC of resamples (n_resamples,).

    The images are drawn within each label.

    Args:
        wins: Of `pixel_wins`, (B, B).
        pairs: Of `pixel_wins`, (B, B).
        n_resamples: Resamples of the images.
        random_state: As in `bootstrap_auroc_samples`: an equal state draws the same
            images.

    Example:
        >>> wins, pairs = pixel_wins([[[0, 1]], [[0, 0]]], [[[1.0, 3.0]], [[2.0, 4.0]]])
        >>> bootstrap_wins_samples(wins, pairs, n_resamples=10).shape
        (10,)
    """
    wins = np.asarray(wins, dtype=float)
    pairs = np.asarray(pairs, dtype=float)
    anomalous = pairs.any(1)
    draws = _draws(
        int(anomalous.sum()), int((~anomalous).sum()), n_resamples, random_state
    )
    times = np.empty((n_resamples, len(pairs)))
    times[:, anomalous], times[:, ~anomalous] = draws
    won, counted = (
        np.einsum("rb,rb->r", times @ matrix, times) for matrix in (wins, pairs)
    )
    return won / counted


def _resampled(
    labels: ArrayLike,
    scores: ArrayLike,
    statistic: Statistic,
    n_resamples: int,
    random_state: Seed,
) -> np.ndarray:
    if statistic is image_auroc:
        return bootstrap_auroc_samples(
            labels, scores, n_resamples=n_resamples, random_state=random_state
        )
    labels, scores = labels_and_scores(labels, scores, ndim=1)
    positive = np.flatnonzero(labels)
    negative = np.flatnonzero(~labels)
    draws = _draws(positive.size, negative.size, n_resamples, random_state)
    rows = (
        np.concatenate([np.repeat(positive, p), np.repeat(negative, n)])
        for p, n in zip(*draws, strict=True)
    )
    return np.array([statistic(labels[i], scores[i]) for i in rows])


def _draws(
    n_positive: int, n_negative: int, n_resamples: int, random_state: Seed
) -> list[np.ndarray]:
    """Draw how often each image of a class is taken.

    (n_resamples, P), (n_resamples, N).
    """
    seed = random_state if isinstance(random_state, int) else tuple(random_state)
    return _counts_of_draws(n_positive, n_negative, n_resamples, seed)


@lru_cache(maxsize=64)
def _counts_of_draws(
    n_positive: int, n_negative: int, n_resamples: int, seed: int | tuple[int, ...]
) -> list[np.ndarray]:
    """Draw once for all scores of the same images.

    The draws take most of a bootstrap's time.
    """
    rng = np.random.default_rng(seed)
    draws = [
        rng.multinomial(n, np.full(n, 1 / max(n, 1)), size=n_resamples)
        if n
        else np.zeros((n_resamples, 0), dtype=int)
        for n in (n_positive, n_negative)
    ]
    for draw in draws:
        draw.flags.writeable = False
    return draws
