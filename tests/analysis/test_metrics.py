"""Detection metrics against scikit-learn and brute force."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    jaccard_score,
    roc_auc_score,
)

from analysis.metrics import (
    aupro,
    image_ap,
    image_auroc,
    image_f1,
    pixel_ap,
    pixel_auroc,
    pixel_dice,
    pixel_f1,
    pixel_iou,
)


def images(seed, *, n=60, decimals=None, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = rng.normal(size=n) + shift * labels
    return labels, scores if decimals is None else scores.round(decimals)


def pixels(seed, *, shape=(3, 12, 14), decimals=None, dtype=np.float32):
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(size=shape), (0, 1, 1)) > 0.35
    maps = (rng.normal(size=shape) + masks).astype(dtype)
    return masks, maps if decimals is None else maps.round(decimals)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_image_metrics_equal_scikit_learn(seed, decimals, dtype):
    labels, scores = images(seed, decimals=decimals)
    scores = scores.astype(dtype)
    assert image_auroc(labels, scores) == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-12
    )
    assert image_ap(labels, scores) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_pixel_metrics_equal_scikit_learn(seed, decimals):
    masks, maps = pixels(seed, shape=(4, 80, 90), decimals=decimals)
    flat = masks.ravel(), maps.ravel()
    assert pixel_auroc(masks, maps) == pytest.approx(roc_auc_score(*flat), abs=1e-12)
    assert pixel_ap(masks, maps) == pytest.approx(
        average_precision_score(*flat), abs=1e-12
    )


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_f1_is_that_of_every_threshold_tried(seed, decimals):
    labels, scores = images(seed, decimals=decimals)
    tried = [f1_score(labels, scores >= threshold) for threshold in scores]
    assert image_f1(labels, scores) == pytest.approx(max(tried), abs=1e-12)
    masks, maps = pixels(seed, decimals=1 if decimals is None else decimals)
    thresholds = np.unique(maps)
    truth = masks.ravel()
    tried = [f1_score(truth, maps.ravel() >= one) for one in thresholds]
    assert pixel_f1(masks, maps) == pytest.approx(max(tried), abs=1e-12)
    found = maps >= thresholds[int(np.argmax(tried))]
    overlap = jaccard_score(truth, found.ravel())
    assert pixel_iou(masks, maps) == pytest.approx(overlap, abs=1e-12)
    by_image = [
        f1_score(mask.ravel(), one.ravel())
        for mask, one in zip(masks, found)
        if mask.any()
    ]
    assert pixel_dice(masks, maps) == pytest.approx(np.mean(by_image), abs=1e-12)


def test_what_is_told_apart_has_an_f1_of_one():
    masks = np.zeros((2, 4, 4), dtype=bool)
    masks[0, :2] = True
    for metric in (pixel_f1, pixel_iou, pixel_dice):
        assert metric(masks, masks.astype(float)) == 1.0


def test_constant_scores_are_chance():
    labels, scores = images(0)
    assert image_auroc(labels, np.zeros_like(scores)) == 0.5
    assert image_ap(labels, np.zeros_like(scores)) == pytest.approx(
        labels.mean(), abs=1e-15
    )


def test_integer_scores_and_boolean_labels_are_welcome():
    assert image_auroc([False, True, True], [1, 1, 2]) == 0.75


@pytest.mark.parametrize("metric", [image_auroc, image_ap])
@pytest.mark.parametrize(
    "monotone", [np.exp, np.arctan, lambda s: 3 * s - 7, lambda s: s**3]
)
def test_image_metrics_ignore_monotone_maps(metric, monotone):
    labels, scores = images(1, decimals=2)
    assert metric(labels, monotone(scores)) == metric(labels, scores)


@pytest.mark.parametrize("decimals", [None, 0])
def test_reversed_scores_and_swapped_labels_mirror_the_auroc(decimals):
    labels, scores = images(2, decimals=decimals)
    value = image_auroc(labels, scores)
    assert image_auroc(labels, -scores) == pytest.approx(1 - value, abs=1e-15)
    assert image_auroc(1 - labels, scores) == pytest.approx(1 - value, abs=1e-15)
    assert value != 0.5


def brute_force_aupro(masks, maps, max_fpr):
    """Every threshold one by one, every region by a loop, trapezoids up to an
    interpolated limit.
    """
    regions = []
    for i, mask in enumerate(masks):
        components, n = ndimage.label(mask, np.ones((3, 3)))
        regions += [(i, components == k) for k in range(1, n + 1)]
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        x.append((maps[~masks] >= threshold).mean())
        y.append(
            np.mean([(maps[i][region] >= threshold).mean() for i, region in regions])
        )
    x, y = np.array(x), np.array(y)
    inside = x <= max_fpr
    last = np.flatnonzero(inside)[-1]
    area = np.sum(np.diff(x[inside]) * (y[inside][1:] + y[inside][:-1]) / 2)
    if x[last] < max_fpr:
        slope = (y[last + 1] - y[last]) / (x[last + 1] - x[last])
        width = max_fpr - x[last]
        area += width * (y[last] + slope * width / 2)
    return area / max_fpr


@pytest.mark.parametrize("max_fpr", [0.001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_aupro_equals_brute_force(seed, decimals, max_fpr):
    masks, maps = pixels(seed, decimals=decimals, dtype=np.float64)
    assert aupro(masks, maps, max_fpr=max_fpr) == pytest.approx(
        brute_force_aupro(masks, maps, max_fpr), abs=1e-12
    )


def test_aupro_of_the_whole_range_is_the_mean_auroc_of_the_regions():
    masks = np.zeros((2, 6, 6), dtype=bool)
    masks[0, 0, :2] = masks[0, 4:, 4:] = masks[1, 2, 2] = True
    maps = np.random.default_rng(3).normal(size=masks.shape)
    regions = [maps[0, 0, :2], maps[0, 4:, 4:].ravel(), maps[1, 2, 2].ravel()]
    each = [
        image_auroc(
            np.r_[np.ones(r.size), np.zeros((~masks).sum())], np.r_[r, maps[~masks]]
        )
        for r in regions
    ]
    assert aupro(masks, maps, max_fpr=1) == pytest.approx(np.mean(each), abs=1e-12)


def test_aupro_joins_diagonal_neighbours_but_not_images():
    maps = np.zeros((2, 3, 3))
    diagonal, stacked = np.zeros((2, 2, 3, 3), dtype=bool)
    diagonal[0, 0, 0] = diagonal[0, 1, 1] = diagonal[0, 2, 0] = True
    stacked[0, 0, 0] = stacked[1, 0, 0] = stacked[1, 0, 1] = True
    maps[0, 0, 0] = 1
    assert aupro(diagonal, maps, max_fpr=1e-9) == pytest.approx(1 / 3, abs=1e-6), (
        "one region of three pixels"
    )
    assert aupro(stacked, maps, max_fpr=1e-9) == pytest.approx(1 / 2, abs=1e-6), (
        "two regions, one found"
    )


def test_aupro_knows_perfect_chance_and_worst():
    masks, _ = pixels(0, shape=(2, 40, 40))
    assert aupro(masks, masks.astype(float)) == 1
    assert aupro(masks, np.zeros(masks.shape)) == pytest.approx(0.15, abs=1e-12)
    assert aupro(masks, -masks.astype(float)) == 0


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_ap, aupro])
@pytest.mark.parametrize(
    "spoil", ["shape", "nan", "normal only", "anomalous only", "soft", "255", "flat"]
)
def test_wrong_maps_are_refused(metric, spoil):
    masks, maps = pixels(0)
    spoilt = {
        "shape": (masks, maps[:-1]),
        "nan": (masks, np.where(maps > 2, np.nan, maps)),
        "normal only": (np.zeros_like(masks), maps),
        "anomalous only": (np.ones_like(masks), maps),
        "soft": (masks * 0.4, maps),
        "255": (masks * 255, maps),
        "flat": (masks.ravel(), maps.ravel()),
    }
    with pytest.raises(ValueError, match="Expected .*; got"):
        metric(*spoilt[spoil])


@pytest.mark.parametrize("function", [image_auroc, image_ap])
def test_wrong_images_are_refused(function):
    with pytest.raises(ValueError, match="one 1-D shape; got"):
        function([0, 1], [[0.1], [0.2]])
    with pytest.raises(ValueError, match="both classes, 0 and 1; got 0 anomalous of 2"):
        function([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="finite scores; got 1"):
        function([0, 1], [0.1, np.inf])


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.1, np.nan])
def test_aupro_refuses_a_limit_outside_the_rates(max_fpr):
    with pytest.raises(ValueError, match="max_fpr"):
        aupro(*pixels(0), max_fpr=max_fpr)
