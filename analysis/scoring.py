"""What every probe measures a model by: AUROC with the image scores behind it, and intervals of any contrast."""

__all__ = ["contrast", "measure", "resampled"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis import intervals
from analysis.metrics import image_auroc
from analysis.tables import METRICS, true_masks
from cl_flow.features import Features
from cl_flow.flow import FlowModel
from cl_flow.score import PARTS, Scores, calibrate, score


def measure(
    model: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    metric: Sequence[str] = ("image_auroc",),
    part: Sequence[str] = PARTS,
    given: str | None = "category",
    known: Sequence[str] | None = None,
    per_log_k: bool = False,
    calibrate_on: int | None = None,
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """A model's metrics on the test images of some categories, as `analysis.evaluate` has them.

    Args:
        model: The model.
        features: Images of every category that the model knows.
        categories: Those to test on.
        metric: Names in `analysis.tables.METRICS`.
        part: Score parts.
        given: `"category"` or None (routed to the likeliest class).
        known: Categories whose centers enter the entropy; all by default.
        per_log_k: Whether the entropy is divided by ln K.
        calibrate_on: Training images per category that scores are calibrated on; None takes all, as `evaluate` does.
        size: Side of the maps in pixels; None is 256.
        sigma: Smoothing of the maps in pixels.

    Returns:
        One row per `category metric part` with its `value`; a row of an image metric also holds the `labels` and
        `scores` (images,) that it was computed from.
    """
    unknown = sorted(set(metric) - set(METRICS))
    if unknown:
        raise KeyError(f"Unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}.")
    training = features.where(split="train", label=0, category=list(categories if given else model.categories))
    if calibrate_on is not None:
        training = training.take(training.samples.groupby("category").head(calibrate_on).index)
    calibration = calibrate(model, training, known=known, per_log_k=per_log_k)
    rows = []
    for category in categories:
        test = features.where(split="test", category=category)
        scores = score(
            model,
            test,
            calibration,
            given=given,
            known=known,
            per_log_k=per_log_k,
            size=(size or 256,) * 2,
            sigma=sigma,
        )
        rows += [(category, key, name, *_value(key, name, test, scores)) for key in metric for name in part]
    return pd.DataFrame(rows, columns=["category", "metric", "part", "value", "labels", "scores"])


def _value(
    metric: str, part: str, test: Features, scores: Scores
) -> tuple[float, np.ndarray | None, np.ndarray | None]:
    """The metric; for one of images, also the labels and scores of the images."""
    if not metric.startswith("image"):
        masks = true_masks(test, scores.logp.shape[1:])
        return METRICS[metric](masks, scores.maps(part).numpy()), None, None
    labels, values = test.samples["label"].to_numpy(), scores.image(part).numpy()
    return METRICS[metric](labels, values), labels, values


def resampled(rows: pd.DataFrame, *, n_resamples: int = 1000) -> np.ndarray:
    """Image AUROC of each row, and of resamples of its test images (rows, 1 + n_resamples); the estimate comes first.

    Every row of a category draws the same images, so that a difference of rows is a paired resample; another category
    draws its own.

    Args:
        rows: With the columns `category labels scores`.
        n_resamples: Resamples of the images, within each label.

    Raises:
        ValueError: A row without image scores.
    """
    if rows["scores"].isna().any():
        raise ValueError("Expected rows of image_auroc, which hold their image scores; got rows without.")
    out = np.empty((len(rows), 1 + n_resamples))
    for i, (category, labels, scores) in enumerate(zip(rows["category"], rows["labels"], rows["scores"])):
        out[i, 0] = image_auroc(labels, scores)
        out[i, 1:] = intervals.bootstrap_auroc_samples(
            labels, scores, n_resamples=n_resamples, random_state=list(category.encode())
        )
    return out


def contrast(weights: ArrayLike, samples: np.ndarray, *, confidence: float = 0.95) -> intervals.Interval:
    """A weighted sum (n,) of rows of `resampled` (n, 1 + n_resamples), with its paired percentile interval."""
    values = (np.asarray(weights, dtype=float) @ samples).round(12) + 0.0  # what did not change is 0, not -1e-16
    return intervals.percentile_interval(values[0], values[1:], confidence=confidence)
