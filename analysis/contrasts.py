"""Contrasts between models, with paired bootstrap intervals."""

__all__ = [
    "contrast",
    "defined",
    "mean_weights",
    "resampled",
    "resampled_images",
    "resampled_means",
    "sample_interval",
]

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis.intervals import (
    Interval,
    Resampling,
    bootstrap_auroc_samples,
    percentile_interval,
)
from analysis.metrics import image_auroc


def defined(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that have a value, numbered from 0.

    A category whose test images do not allow a metric has none (`analysis.scoring`
    names it once), and has no part in a mean.

    Raises:
        ValueError: No row has a value.
    """
    known = rows.dropna(subset="value").reset_index(drop=True)
    if known.empty and len(rows):
        names = ", ".join(rows["category"].unique())
        raise ValueError(
            "Expected a category with both normal and anomalous test images; got "
            f"{names}."
        )
    return known


def resampled(rows: pd.DataFrame, resampling: Resampling = Resampling()) -> np.ndarray:
    """Image AUROC of each row, and of resamples of its test images.

    Every row of a category draws the same images, so that a difference of rows is a
    paired resample; another category draws its own.

    Args:
        rows: With the columns `category labels scores`.
        resampling: Of the images, within each label.

    Returns:
        (rows, 1 + n_resamples), the estimate first.

    Raises:
        ValueError: A row without image scores.
    """
    if rows["scores"].isna().any():
        raise ValueError(
            "Expected rows of image_auroc, which hold their image scores; "
            "got rows without."
        )
    out = np.empty((len(rows), 1 + resampling.n_resamples))
    columns = zip(rows["category"], rows["labels"], rows["scores"])
    for i, (category, labels, scores) in enumerate(columns):
        out[i, 0] = image_auroc(labels, scores)
        out[i, 1:] = bootstrap_auroc_samples(
            labels,
            scores,
            n_resamples=resampling.n_resamples,
            random_state=list(category.encode()),
        )
    return out


def resampled_images(
    images: pd.DataFrame, resampling: Resampling = Resampling()
) -> np.ndarray:
    """Image AUROC of each run and category, and of resamples, as `resampled` has it.

    A category without normal, or without anomalous, images is left out.

    Args:
        images: One row per image, with the columns `run category label score`.
        resampling: Of the images, within each label.

    Returns:
        (runs × categories, 1 + n_resamples), the estimate first.
    """
    groups = images.groupby(["run", "category"], sort=False)
    each = groups.agg(labels=("label", np.array), scores=("score", np.array))
    both = groups["label"].nunique() == 2
    return resampled(each[both].reset_index(), resampling)


def resampled_means(
    rows: pd.DataFrame, resampling: Resampling = Resampling()
) -> np.ndarray:
    """Value of each row, and of resamples of its images, where it is a mean of them.

    Every row of a category draws the same images, as in `resampled`.

    Args:
        rows: With the columns `category value scores`; the scores (images,) of a row
            are what each image adds, and vary around the value.
        resampling: Of the images.

    Returns:
        (rows, 1 + n_resamples), the estimate first.
    """
    out = np.empty((len(rows), 1 + resampling.n_resamples))
    columns = zip(rows["category"], rows["value"], rows["scores"])
    for i, (category, value, scores) in enumerate(columns):
        n = len(scores)
        rng = np.random.default_rng(list(category.encode()))
        draws = rng.multinomial(n, np.full(n, 1 / n), size=resampling.n_resamples)
        out[i, 0] = value
        out[i, 1:] = value + draws @ (scores - scores.mean()) / n
    return out


def contrast(
    weights: ArrayLike, samples: np.ndarray, resampling: Resampling = Resampling()
) -> Interval:
    """Weighted sum of rows with its paired percentile interval.

    Args:
        weights: One per row (n,).
        samples: Rows of `resampled` (n, 1 + n_resamples).
        resampling: Of which the confidence is taken.
    """
    values = np.asarray(weights, dtype=float) @ samples
    values = values.round(12) + 0.0  # what did not change is 0, not -1e-16
    return percentile_interval(values[0], values[1:], confidence=resampling.confidence)


def sample_interval(
    samples: np.ndarray, resampling: Resampling = Resampling()
) -> Interval:
    """Percentile interval of an estimate and its resamples.

    Resamples that are not finite are left out; without any other the bounds are NaN.

    Args:
        samples: The estimate first (1 + n_resamples,).
        resampling: Of which the confidence is taken.
    """
    # What did not change is 0, not -1e-16.
    values = np.where(np.abs(samples) < 1e-13, 0.0, samples)
    known = values[1:][np.isfinite(values[1:])]
    if not len(known):
        return Interval(float(values[0]), np.nan, np.nan)
    return percentile_interval(values[0], known, confidence=resampling.confidence)


def mean_weights(chosen: pd.Series) -> np.ndarray:
    """Weights (n,) of the mean over the rows chosen, for `contrast`."""
    weights = chosen.to_numpy(dtype=float)
    return weights / weights.sum()
