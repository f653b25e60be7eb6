"""Intervals against planted differences, fresh samples and brute force."""

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from analysis.intervals import (
    Interval,
    bootstrap_auroc,
    bootstrap_auroc_samples,
    bootstrap_mean_difference,
    bootstrap_wins_samples,
    paired_bootstrap,
    percentile_interval,
    pixel_wins,
    seed_interval,
)
from analysis.metrics import image_auroc, pixel_auroc


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


def test_vectorised_resamples_are_aurocs_of_resampled_images():
    labels, scores = images(4, decimals=1)
    fast = paired_bootstrap(labels, scores, -scores, n_resamples=50)
    slow = paired_bootstrap(
        labels,
        scores,
        -scores,
        n_resamples=50,
        statistic=lambda y, s: roc_auc_score(y, s),
    )
    assert fast == pytest.approx(slow, abs=1e-12)


def test_resamples_repeat_and_pair_by_random_state():
    labels, scores = images(5)
    samples = bootstrap_auroc_samples(labels, scores)
    assert samples.shape == (1000,)
    assert np.array_equal(samples, bootstrap_auroc_samples(labels, np.exp(scores)))
    assert not np.array_equal(
        samples, bootstrap_auroc_samples(labels, scores, random_state=1)
    )


def test_resampling_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    bootstrap_auroc(*images(0))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_bootstrap_spread_is_that_of_fresh_images():
    truth = np.std([image_auroc(*images(seed)) for seed in range(400)])
    spread = np.mean(
        [bootstrap_auroc_samples(*images(seed)).std() for seed in range(20)]
    )
    assert spread == pytest.approx(truth, rel=0.15)


@pytest.mark.parametrize("shift", [1.0, 1.8])
def test_bootstrap_covers_the_true_auroc(shift):
    truth = stats.norm.cdf(shift / np.sqrt(2))
    intervals = [
        bootstrap_auroc(*images(seed, shift=shift), n_resamples=300)
        for seed in range(200)
    ]
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.88 <= covered <= 0.99


def test_paired_bootstrap_sees_a_planted_difference_that_unpaired_intervals_hide():
    labels, scores = images(6, n=90)
    worse = scores - 0.7 * labels
    difference = paired_bootstrap(labels, scores, worse)
    assert difference.value == pytest.approx(
        image_auroc(labels, scores) - image_auroc(labels, worse)
    )
    assert difference.low > 0
    assert bootstrap_auroc(labels, scores).low < bootstrap_auroc(labels, worse).high
    mirrored = paired_bootstrap(labels, worse, scores)
    assert (mirrored.low, mirrored.high) == pytest.approx(
        (-difference.high, -difference.low)
    )


def test_paired_bootstrap_of_equal_models_is_zero():
    labels, scores = images(7)
    assert paired_bootstrap(labels, scores, 2 * scores + 1) == (0, 0, 0)


def test_paired_bootstrap_covers_no_difference():
    rng = np.random.default_rng(8)
    covered = 0
    for seed in range(200):
        labels, scores = images(seed)
        a, b = scores + rng.normal(size=(2, labels.size))
        interval = paired_bootstrap(labels, a, b, n_resamples=300)
        covered += interval.low <= 0 <= interval.high
    assert 0.9 <= covered / 200 <= 0.995


def test_mean_over_categories_resamples_each_of_them_independently():
    labels, scores = images(9)
    category = (labels, scores, scores - 0.5 * labels)
    one, four = (
        bootstrap_mean_difference([category]),
        bootstrap_mean_difference([category] * 4),
    )
    assert four.value == pytest.approx(one.value)
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(0.5, abs=0.1)
    assert one == paired_bootstrap(*category)
    with pytest.raises(ValueError, match="at least one category"):
        bootstrap_mean_difference([])


def test_percentile_interval_holds_its_confidence():
    assert percentile_interval(50, np.arange(101), confidence=0.9) == pytest.approx(
        (50, 5, 95)
    )


def test_interval_reads_as_one_number_with_its_bounds():
    assert repr(Interval(0.1234, 0.1, 0.15)) == "0.123 [0.100, 0.150]"
    value, low, high = Interval(0.1234, 0.1, 0.15)
    assert low < value < high


def test_seed_interval_is_students():
    values = np.array([0.91, 0.95, 0.90, 0.97, 0.93])
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert seed_interval(values) == pytest.approx((values.mean(), low, high))


def test_one_seed_has_a_mean_and_no_interval():
    interval = seed_interval([0.9])
    assert interval.value == 0.9
    assert np.isnan([interval.low, interval.high]).all()
    with pytest.raises(ValueError, match="n ≥ 1; got shape"):
        seed_interval([])


@pytest.mark.parametrize("decimals", [None, 0])
def test_pixel_wins_add_up_to_the_pixel_auroc(decimals):
    masks, maps = pixels(0, shape=(5, 12, 14), decimals=decimals)
    masks[1] = masks[3] = False
    wins, pairs = pixel_wins(masks, maps)
    assert wins.sum() / pairs.sum() == pytest.approx(
        pixel_auroc(masks, maps), abs=1e-12
    )
    assert not pairs[1].any() and not pairs[3].any()
    assert wins[0, 2] / pairs[0, 2] == pytest.approx(
        roc_auc_score(
            np.repeat([1, 0], [masks[0].sum(), (~masks[2]).sum()]),
            np.concatenate([maps[0][masks[0]], maps[2][~masks[2]]]),
        )
    )


def test_pixel_resamples_are_aurocs_of_resampled_images():
    masks, maps = pixels(1, shape=(6, 10, 11))
    masks[:3] = False
    samples = bootstrap_wins_samples(
        *pixel_wins(masks, maps), n_resamples=4, random_state=3
    )
    rng = np.random.default_rng(3)
    anomalous, normal = (
        rng.multinomial(3, np.full(3, 1 / 3), size=4) for _ in range(2)
    )
    for sample, a, n in zip(samples, anomalous, normal):
        chosen = np.concatenate([np.repeat([3, 4, 5], a), np.repeat([0, 1, 2], n)])
        assert sample == pytest.approx(
            pixel_auroc(masks[chosen], maps[chosen]), abs=1e-12
        )
