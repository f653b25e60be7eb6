"""Residuals become maps and scores; there is one part, and nothing else is answered."""

import numpy as np
import pandas as pd
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.model import IUF, IUFConfig, UniAD, UniADConfig
from cl_flow.scoring import score, score_residuals

SMALL = {"side": 4, "width": 8, "n_heads": 2, "hidden": 16, "n_encoder": 1}


@pytest.fixture
def images() -> Features:
    rng = np.random.default_rng(0)
    samples = pd.DataFrame({"category": ["a", "b"] * 20, "split": "test", "label": 0})
    levels = tuple(rng.normal(size=(40, n, 5)).astype(np.float16) for n in (64, 16))
    return Features(samples, levels, ((8, 8), (4, 4)), np.arange(40))


def model(images: Features) -> UniAD:
    return UniAD(images.dims, images.grids, UniADConfig(**SMALL)).expand_(["b", "a"])


def test_a_map_is_the_norm_of_what_is_not_reconstructed(images):
    one = model(images)
    scores = score_residuals(one, images, size=(4, 4), sigma=0.0)
    tokens = one.tokens(images.read())
    expected = (one.reconstructed(tokens) - tokens).square().sum(-1).sqrt()
    torch.testing.assert_close(scores.maps("product").flatten(1), expected)
    assert scores.classes.tolist() == [1, 0] * 20


def test_an_image_scores_the_largest_mean_of_a_square(images):
    one = model(images)
    scores = score_residuals(one, images, size=(28, 28), sigma=4.0)
    plain = score_residuals(one, images, size=(28, 28), sigma=0.0).maps("product")
    windows = plain.unfold(1, 2, 1).unfold(2, 2, 1).mean((-1, -2))
    torch.testing.assert_close(scores.image("product"), windows.amax((1, 2)))
    smoother = scores.maps("product").flatten(1).std(1)
    assert (smoother < plain.flatten(1).std(1)).all()


def test_a_score_does_not_depend_on_its_companions(images):
    one = model(images)
    whole = score_residuals(one, images, size=(14, 14)).image("product")
    alone = [score_residuals(one, images.take([i]), size=(14, 14)) for i in range(3)]
    found = torch.cat([scores.image("product") for scores in alone])
    torch.testing.assert_close(found, whole[:3])


@pytest.mark.parametrize("part", ["logp", "entropy", "likelihood"])
def test_it_has_no_parts_of_a_flow(images, part):
    scores = score_residuals(model(images), images)
    for ask in (scores.maps, scores.image):
        with pytest.raises(ValueError, match=f"part='product'.*got '{part}'"):
            ask(part)


def test_uniad_routes_nothing_and_iuf_by_its_discriminator(images):
    with pytest.raises(ValueError, match="given='category' for uniad.*got None"):
        score_residuals(model(images), images, given=None)
    config = IUFConfig(**SMALL, n_classes=4)
    told = IUF(images.dims, images.grids, config).expand_(["b", "a"])
    routed = score_residuals(told, images, given=None)
    expected = told.routed(told.tokens(images.read()))
    assert torch.equal(routed.classes, expected) and set(expected.tolist()) <= {0, 1}
    given = score_residuals(told, images)
    assert torch.equal(given.image("product"), routed.image("product"))


def test_a_flows_score_is_not_asked_of_it(images):
    with pytest.raises(TypeError, match="of type FlowModel"):
        score(model(images), images, "set")
