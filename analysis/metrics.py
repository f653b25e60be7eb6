"""Metrics of detection: exact AUROC, average precision, AUPRO and the best F1.

Labels are 0 (normal) and 1 (anomalous); a higher score is more anomalous. Every curve
metric below is a function of the normal scores above and at-or-above each anomalous
score, so one sort of the normal scores replaces the usual argsort of everything. Labels
of a single class leave these metrics undefined and are an error, never a NaN that an
average loses.
"""

__all__ = [
    "aupro",
    "image_ap",
    "image_auroc",
    "image_f1",
    "labels_and_scores",
    "pixel_ap",
    "pixel_auroc",
    "pixel_dice",
    "pixel_f1",
    "pixel_iou",
    "share_below",
]

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

SAME_IMAGE_8_NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
SAME_IMAGE_8_NEIGHBOURS[1] = True


def image_auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the probability that an anomalous image outscores a normal one.

    A tie counts one half.

    Args:
        labels: 0 or 1 per image, (B,).
        scores: Image scores, (B,).

    Raises:
        ValueError: Shapes differ, a score is not finite, a label is not 0 or 1, or only
            one class is present.

    Example:
        >>> image_auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    return _auroc(*_by_class(labels, scores, ndim=1))


def image_ap(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the average precision Σ (R_n − R_{n−1}) P_n over distinct thresholds.

    Arguments as for `image_auroc`.

    Example:
        >>> round(image_ap([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    return _average_precision(*_by_class(labels, scores, ndim=1))


def pixel_auroc(masks: ArrayLike, maps: ArrayLike) -> float:
    """Return the AUROC over all pixels of all images together.

    Args:
        masks: Ground truth, 0 or 1, (B, H, W).
        maps: Anomaly maps, (B, H, W). float32 sorts fastest.

    Raises:
        ValueError: As for `image_auroc`; a soft or a 0/255 mask must be binarised
            first.

    Example:
        >>> masks = [[[0, 0, 1, 1]]]
        >>> float(pixel_auroc(masks, [[[0.1, 0.4, 0.35, 0.8]]]))
        0.75
    """
    return _auroc(*_by_class(masks, maps, ndim=3))


def pixel_ap(masks: ArrayLike, maps: ArrayLike) -> float:
    """Return the average precision over all pixels of all images together.

    Arguments as for `pixel_auroc`.

    Example:
        >>> masks = [[[0, 0, 1, 1]]]
        >>> round(pixel_ap(masks, [[[0.1, 0.4, 0.35, 0.8]]]), 4)
        0.8333
    """
    return _average_precision(*_by_class(masks, maps, ndim=3))


def image_f1(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds.

    It is chosen on the test images themselves: an upper bound, as tables in the field
    report it. Arguments as for `image_auroc`.

    Example:
        >>> image_f1([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.8
    """
    return _best_f1(*_by_class(labels, scores, ndim=1))[0]


def pixel_f1(masks: ArrayLike, maps: ArrayLike) -> float:
    """Return the largest F1 over all thresholds, of all pixels of all images together.

    It is their Dice coefficient, too. Arguments as for `pixel_auroc`.

    Example:
        >>> pixel_f1([[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.35, 0.8]]])
        0.8
    """
    return _best_f1(*_by_class(masks, maps, ndim=3))[0]


def pixel_iou(masks: ArrayLike, maps: ArrayLike) -> float:
    """Return TP / (TP + FP + FN) at the threshold of `pixel_f1`.

    Intersection over union of all pixels together, F1 / (2 − F1): no threshold has a
    larger one.
    Arguments as for `pixel_auroc`.

    Example:
        >>> round(pixel_iou([[[0, 0, 1, 1]]], [[[0.1, 0.4, 0.35, 0.8]]]), 4)
        0.6667
    """
    best = pixel_f1(masks, maps)
    return best / (2 - best)


def pixel_dice(masks: ArrayLike, maps: ArrayLike) -> float:
    """Return the mean Dice coefficient of defective images at that threshold.

    Of each image by itself, so that a small defect counts as a large one does; of all
    pixels together it would be `pixel_f1`. Arguments as for `pixel_auroc`.

    Example:
        >>> masks = [[[0, 0, 1, 1]], [[0, 1, 0, 0]]]
        >>> pixel_dice(masks, [[[0.1, 0.2, 0.7, 0.8]], [[0.1, 0.1, 0.9, 0.1]]])
        0.5
    """
    masks, maps = labels_and_scores(masks, maps, ndim=3)
    _, threshold = _best_f1(np.sort(maps[masks]), maps[~masks])
    defective = masks[masks.any((1, 2))]
    found = maps[masks.any((1, 2))] >= threshold
    both = (defective & found).sum((1, 2))
    return float(np.mean(2 * both / (defective.sum((1, 2)) + found.sum((1, 2)))))


def aupro(masks: ArrayLike, maps: ArrayLike, *, max_fpr: float = 0.3) -> float:
    """Return the normalised area under the per-region overlap curve.

    It spans false positive rates in [0, `max_fpr`].
    PRO(τ) = mean over regions g of |{p ∈ g : score ≥ τ}| / |g|. A region is an
    8-connected component of one mask; the false positive rate is taken over all pixels
    outside the masks. As in the evaluation code of MVTec AD the curve is piecewise
    linear between distinct scores: tied pixels enter together, along the diagonal, and
    the curve is interpolated at `max_fpr`. A pixel p thus enters over [#(normal > p),
    #(normal ≥ p)] / #normal, and the area is the sum of the pixels' areas, each in
    closed form.

    References:
        Uninformed Students: Student-Teacher Anomaly Detection (Bergmann, Fauser,
        Sattlegger and Steger, 2020),
        https://arxiv.org/abs/1911.02357

    Args:
        masks: Ground truth, 0 or 1, (B, H, W).
        maps: Anomaly maps, (B, H, W).
        max_fpr: Integration limit in (0, 1]; 1 gives the mean over regions of each
            region's AUROC.

    Raises:
        ValueError: As for `pixel_auroc`, or `max_fpr` lies outside (0, 1].

    Example:
        >>> masks = [[[0, 1, 0, 0], [0, 0, 0, 1]]]
        >>> maps = [[[0.0, 0.9, 0.1, 0.2], [0.3, 0.4, 0.5, 0.8]]]
        >>> aupro(masks, maps)
        1.0
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"Expected max_fpr in (0, 1]; got {max_fpr}.")
    masks, maps = labels_and_scores(masks, maps, ndim=3)
    regions, n_regions = ndimage.label(masks, SAME_IMAGE_8_NEIGHBOURS)
    region = regions[masks]
    positives = maps[masks]
    negatives = maps[~masks]
    order = np.argsort(positives)
    region = region[order]
    positives = positives[order]
    above, at_or_above = _false_alarms(positives, negatives)
    entered = np.clip(max_fpr * negatives.size - above, 0, None)
    ties = at_or_above - above
    ramp = np.minimum(entered, ties)
    areas = entered - ramp + ramp**2 / (2 * np.maximum(ties, 1))
    area = np.sum(areas / np.bincount(region)[region]) / n_regions
    return float(area / (max_fpr * negatives.size))


def share_below(scores: ArrayLike, normal: ArrayLike) -> np.ndarray:
    """Return the share of normal scores below each score; a tie counts one half.

    Args:
        scores: Of any images, (B,).
        normal: Of normal images, (N,), one or more.

    Example:
        >>> share_below([0.5, 2.0], [0.0, 0.5, 1.0, 1.5])
        array([0.375, 1.   ])
    """
    normal = np.asarray(normal)
    above, at_or_above = _false_alarms(np.asarray(scores), normal)
    return 1 - (above + at_or_above) / (2 * normal.size)


def labels_and_scores(
    labels: ArrayLike, scores: ArrayLike, *, ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return boolean labels and floating scores of one shape.

    Raises:
        ValueError: As for `image_auroc`.

    Example:
        >>> labels, scores = labels_and_scores([0, 1], [0.5, 2.0], ndim=1)
        >>> labels.tolist(), scores.tolist()
        ([False, True], [0.5, 2.0])
    """
    labels = np.asarray(labels)
    scores = np.asarray(scores)
    if labels.shape != scores.shape or scores.ndim != ndim:
        raise ValueError(
            f"Expected labels and scores of one {ndim}-D shape; got {labels.shape} and "
            f"{scores.shape}."
        )
    if labels.dtype != bool:
        stray = labels[(labels != 0) & (labels != 1)]
        if stray.size:
            raise ValueError(
                f"Expected labels of 0 (normal) and 1 (anomalous); got {stray[0]}."
            )
        labels = labels.astype(bool)
    scores = scores.astype(np.result_type(scores, np.float32), copy=False)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"Expected finite scores; got {np.count_nonzero(~np.isfinite(scores))} "
            "that are not."
        )
    n_positive = np.count_nonzero(labels)
    if n_positive in (0, labels.size):
        raise ValueError(
            f"Expected both classes, 0 and 1; got {n_positive} anomalous of "
            f"{labels.size}."
        )
    return labels, scores


def _auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    above, at_or_above = _false_alarms(positives, negatives)
    losses = int(above.sum()) + int(at_or_above.sum())
    return 1 - losses / (2 * positives.size * negatives.size)


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> float:
    _, false = _false_alarms(positives, negatives)
    true = positives.size - np.searchsorted(positives, positives, side="left")
    return float(np.mean(true / (true + false)))


def _best_f1(positives: np.ndarray, negatives: np.ndarray) -> tuple[float, float]:
    """Return the largest F1, and the lowest threshold that has it.

    Only an anomalous score (P,), ascending, can be one: any other adds false alarms.
    """
    _, false = _false_alarms(positives, negatives)
    true = positives.size - np.searchsorted(positives, positives, side="left")
    f1 = 2 * true / (positives.size + true + false)
    best = int(f1.argmax())
    return float(f1[best]), float(positives[best])


def _false_alarms(
    positives: np.ndarray, negatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the negatives above, and at or above, each positive (P,)."""
    negatives = np.sort(negatives)
    above = negatives.size - np.searchsorted(negatives, positives, side="right")
    at_or_above = negatives.size - np.searchsorted(negatives, positives, side="left")
    return above, at_or_above


def _by_class(
    labels: ArrayLike, scores: ArrayLike, *, ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the anomalous (P,), ascending, and of the normal (N,)."""
    labels, scores = labels_and_scores(labels, scores, ndim=ndim)
    return np.sort(scores[labels]), scores[~labels]
