"""Contrasts between models, with paired bootstrap intervals."""

__all__ = ["contrast", "resampled"]


import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis import intervals
from analysis.metrics import image_auroc


def resampled(rows: pd.DataFrame, *, n_resamples: int = 1000) -> np.ndarray:
    """Image AUROC of each row, and of resamples of its test images (rows, 1 +
    n_resamples); the estimate comes first.

    Every row of a category draws the same images, so that a difference of rows is a
    paired resample; another category draws its own.

    Args:
        rows: With the columns `category labels scores`.
        n_resamples: Resamples of the images, within each label.

    Raises:
        ValueError: A row without image scores.
    """
    if rows["scores"].isna().any():
        raise ValueError(
            "Expected rows of image_auroc, which hold their image scores; got rows without."
        )
    out = np.empty((len(rows), 1 + n_resamples))
    for i, (category, labels, scores) in enumerate(
        zip(rows["category"], rows["labels"], rows["scores"])
    ):
        out[i, 0] = image_auroc(labels, scores)
        out[i, 1:] = intervals.bootstrap_auroc_samples(
            labels,
            scores,
            n_resamples=n_resamples,
            random_state=list(category.encode()),
        )
    return out


def contrast(
    weights: ArrayLike, samples: np.ndarray, *, confidence: float = 0.95
) -> intervals.Interval:
    """A weighted sum (n,) of rows of `resampled` (n, 1 + n_resamples), with its paired
    percentile interval.
    """
    values = (np.asarray(weights, dtype=float) @ samples).round(
        12
    ) + 0.0  # what did not change is 0, not -1e-16
    return intervals.percentile_interval(values[0], values[1:], confidence=confidence)
