"""Scores: pointwise, and calibrated on normal images.

Where they should be, they are blind to classes that arrive later.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.scoring.maps import _resampler
from cl_flow.scoring.scores import PARTS, Calibration, anomaly_of, calibrate, score

CATEGORIES = ["a", "b", "c"]


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    labels = [0] * 6 + [0, 1] * 4
    rows = [
        (name, "train" if i < 6 else "test", label)
        for name in CATEGORIES
        for i, label in enumerate(labels)
    ]
    samples = pd.DataFrame(rows, columns=["category", "split", "label"])
    levels = tuple(
        rng.normal(size=(len(rows), cells, 8)).astype(np.float16) for cells in (16, 4)
    )
    levels[0][samples["label"] == 1, :3] += 6
    return Features(samples, levels, ((4, 4), (2, 2)), np.arange(len(rows)))


@pytest.fixture
def model(features) -> FlowModel:
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    return FlowModel(features.dims, features.grids, config).expand_(CATEGORIES)


@pytest.fixture
def calibration(model, features):
    return calibrate(model, features.where(split="train"))


@pytest.mark.parametrize("given", ["category", None])
def test_a_score_does_not_depend_on_its_companions(model, features, calibration, given):
    test = features.where(split="test")
    together = score(model, test, calibration, given=given, size=(16, 16))
    alone = [
        score(model, test.take([i]), calibration, given=given, size=(16, 16))
        for i in range(len(test))
    ]
    for part in PARTS:
        torch.testing.assert_close(
            torch.cat([one.maps(part) for one in alone]),
            together.maps(part),
            rtol=1e-4,
            atol=1e-6,
        )
    assert torch.equal(torch.cat([one.classes for one in alone]), together.classes)


def test_the_published_protocol_does_depend_on_them(model, features):
    test = features.where(split="test", category="a")
    together, alone = (
        score(model, part, "set", size=(16, 16)) for part in (test, test.take([0]))
    )
    assert not torch.allclose(together.logp[:1], alone.logp, rtol=1e-3)


def test_calibration_is_the_median_over_training_patches(model, features, calibration):
    level = model.levels[1]
    x = features.where(split="train", category="b").read()[1]
    z, log_det = level(x.flatten(0, 1).float())
    logp = (
        level.mixture.log_prob(z, torch.ones(len(x), dtype=torch.long)) + log_det
    ) / level.dim
    assert calibration.values[1, 1, 0].item() == pytest.approx(
        logp.median().item(), rel=1e-5
    )
    assert calibration.values[1, 1, 1].item() == pytest.approx(
        level.mixture.negentropy(z).median().item(), rel=1e-5
    )


def test_a_typical_patch_is_as_likely_anomalous_as_not(model, features, calibration):
    scores = score(
        model,
        features.where(split="train", category="a"),
        calibration,
        size=(4, 4),
        sigma=0,
    )
    one_as_likely_as_not = math.log(2)
    assert scores.logp.median().item() == pytest.approx(
        one_as_likely_as_not * len(model.levels), abs=0.2
    )
    assert (scores.logp > 0).all()


def test_an_anomaly_is_the_logarithm_of_a_posterior():
    normality = torch.linspace(-8, 8, 50, dtype=torch.float64)
    posterior_of_normal = torch.sigmoid(normality - 1.5)
    torch.testing.assert_close(
        anomaly_of(normality, torch.tensor(1.5)), -posterior_of_normal.log()
    )


@pytest.mark.parametrize("below", [0.0, 17.0, 40.0, 1e3, 1e6])
def test_however_far_from_training_the_farther_is_more_anomalous(below):
    patches = torch.arange(10.0).flip(0) - below
    anomalies = anomaly_of(patches, torch.tensor(0.0))
    assert (anomalies.diff() > 0).all()


def test_another_lamp_does_not_reorder_images(model, features, calibration):
    test = features.where(split="test", category="a")
    bright = [levels.copy() for levels in test.levels]
    for levels in bright:
        levels += 60.0
    lit = Features(test.samples, tuple(bright), test.grids, test.rows)
    scores = score(model, lit, calibration, size=(16, 16), sigma=0)
    assert len(scores.image("logp").unique()) == len(test)


def test_planted_anomalies_score_higher_where_they_are(model, features, calibration):
    test = features.where(split="test", category="a")
    scores = score(model, test, calibration, size=(16, 16), sigma=1)
    ill = test.samples["label"].to_numpy() == 1
    assert scores.image("logp")[ill].mean() > scores.image("logp")[~ill].mean()
    assert (
        scores.logp[ill][:, :3, :8].mean((1, 2)) > scores.logp[ill][:, 12:].mean((1, 2))
    ).all()


def test_expansion_leaves_likelihood_and_masked_entropy_to_the_bit(
    model, features, calibration
):
    test = features.where(split="test")
    train = features.where(split="train")
    before = score(model, test, calibration, size=(16, 16))
    model.expand_(4)
    masked = calibrate(model, train, known=CATEGORIES)
    assert torch.equal(masked.values[:3], calibration.values)
    after = score(model, test, masked, known=CATEGORIES, size=(16, 16))
    for part in PARTS:
        assert torch.equal(after.maps(part), before.maps(part)), part
    unmasked = score(model, test, calibrate(model, train), size=(16, 16))
    assert torch.equal(unmasked.logp, before.logp)
    assert not torch.allclose(unmasked.entropy, before.entropy)


@pytest.mark.parametrize("given", ["category", None])
def test_the_entropy_within_a_task_keeps_its_bits_when_another_arrives(
    model, features, calibration, given
):
    test = features.where(split="test")
    train = features.where(split="train")
    before = score(model, test, calibration, given=given, size=(16, 16))
    model.expand_(4)
    assert model.arrivals[0] == tuple(CATEGORIES) and len(model.arrivals[1]) == 4
    if given is None:  # no new class is the likeliest: they lie far away
        for level in model.levels:
            level.mixture.blocks()[1]["mu"].data.fill_(1e4)
    within = calibrate(model, train, known="task")
    assert torch.equal(within.values[:3], calibration.values)
    after = score(model, test, within, given=given, known="task", size=(16, 16))
    for part in PARTS:
        assert torch.equal(after.maps(part), before.maps(part)), part


def test_each_image_is_compared_within_the_task_of_its_own_class(features):
    model = expanded_by_one(features)
    train = features.where(split="train")
    within = calibrate(model, train, known="task", per_log_k=True).values
    for names in model.arrivals:
        own = features.where(split="train", category=list(names))
        expected = calibrate(model, own, known=names, per_log_k=True).values
        rows = model.class_ids(names)
        torch.testing.assert_close(within[rows], expected[rows])
    with pytest.raises(ValueError, match="Expected categories, None or 'task'"):
        calibrate(model, train, known="mask")


def expanded_by_one(features: Features) -> FlowModel:
    """A model whose first two categories came before its third."""
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    model = FlowModel(features.dims, features.grids, config)
    return model.expand_(CATEGORIES[:2]).expand_(CATEGORIES[2:]).eval()


def test_entropy_per_log_k_is_divided_before_the_exponent(model, features):
    train = features.where(split="train")
    test = features.where(split="test", category="a")
    plain = calibrate(model, train)
    divided = calibrate(model, train, per_log_k=True)
    torch.testing.assert_close(
        divided.values[..., 1], plain.values[..., 1] / math.log(3)
    )
    assert torch.equal(divided.values[..., 0], plain.values[..., 0])
    one = calibrate(model, train, known=["a"], per_log_k=True)
    assert torch.equal(one.values, calibrate(model, train, known=["a"]).values)
    scores = [
        score(model, test, c, per_log_k=k, sigma=0)
        for c, k in ((plain, False), (divided, True))
    ]
    assert torch.equal(scores[0].logp, scores[1].logp)
    corner = [torch.zeros(len(test)), torch.zeros(len(test))]
    for level, x, typical in zip(model.levels, test.read(), plain.values[0, :, 1]):
        certainty = level.mixture.negentropy(level(x.flatten(0, 1).float())[0]).view(
            len(test), -1
        )[:, 0]
        for i, unit in enumerate((1, math.log(3))):
            corner[i] += anomaly_of(certainty.detach() / unit, typical / unit)
    for expected, got in zip(corner, scores):
        torch.testing.assert_close(got.entropy[:, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_routing_finds_the_class_whose_center_is_nearest(model, features, calibration):
    for level in model.levels:
        level.mixture.blocks()[0]["mu"].data[1] = 0
        level.mixture.blocks()[0]["mu"].data[[0, 2]] = 100
    scores = score(
        model,
        features.where(split="test"),
        calibrate(model, features.where(split="train")),
        given=None,
    )
    assert set(scores.classes.tolist()) == {1}


@pytest.mark.parametrize(("n_in", "n_out"), [(4, 32), (16, 128), (64, 256), (8, 8)])
def test_the_resampler_is_bilinear_upsampling_then_a_gaussian(n_in, n_out):
    values = torch.rand(n_in, n_in, dtype=torch.float64)
    matrix = _resampler(n_in, n_out, 4.0).double()
    up = F.interpolate(
        values[None, None], size=(n_out, n_out), mode="bilinear", align_corners=True
    )[0, 0]
    expected = torch.as_tensor(gaussian_filter(up.numpy(), 4.0))
    torch.testing.assert_close(
        matrix @ values @ matrix.T, expected, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        matrix.sum(1), torch.ones(n_out, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


def test_tiny_entropies_are_told_apart(model, features):
    """1 − exp(s) of s near 0 would be 0 in single precision, and the product with it."""
    for level in model.levels:
        level.mixture.blocks()[0]["mu"].data *= 20
    scores = score(model, features.where(split="test", category="a"), "set")
    assert len(scores.entropy.flatten(1).amax(1).unique()) > 1 or math.isclose(
        scores.entropy.max(), 0
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, f, c: score(m, f, c, given="class"),
            "given='category' or None; got 'class'",
        ),
        (lambda m, f, c: score(m, f, "train"), "a Calibration or 'set'; got 'train'"),
        (
            lambda m, f, c: score(m, f, c).maps("sum"),
            "Unknown part 'sum'; known: logp, entropy, product",
        ),
        (lambda m, f, c: calibrate(m, f.where(split="test")), "Expected normal images"),
        (
            lambda m, f, c: calibrate(m, f.where(split="test", label=0)),
            "got anomalous or test images",
        ),
        (
            lambda m, f, c: score(m, f, Calibration(c.values[:2])),
            "a calibration of this model, .* got that of another",
        ),
        (
            lambda m, f, c: score(
                m, f, calibrate(m, f.where(split="train", category="a"))
            ),
            "got none of b, c",
        ),
        (lambda m, f, c: score(m.fresh().expand_(["a"]), f, c), "No center for b, c"),
    ],
)
def test_wrong_input_is_named(model, features, calibration, call, message):
    with pytest.raises((ValueError, KeyError), match=message):
        call(model, features, calibration)
