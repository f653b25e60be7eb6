"""Latents that are kept score as the features they were made of."""

import numpy as np
import pandas as pd
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.scoring.latents import Latents, encode
from cl_flow.scoring.scores import calibrate, score


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    rows = [
        (name, "train" if i < 40 else "test", int(i % 5 == 0 and i >= 40))
        for name in "ab"
        for i in range(50)
    ]
    samples = pd.DataFrame(rows, columns=["category", "split", "label"])
    levels = tuple(
        rng.normal(size=(len(rows), cells, 8)).astype(np.float16) for cells in (16, 4)
    )
    return Features(samples, levels, ((4, 4), (2, 2)), np.arange(len(rows)))


@pytest.fixture
def model(features) -> FlowModel:
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    return FlowModel(features.dims, features.grids, config).expand_("ab")


@pytest.mark.parametrize("given", ["category", None])
def test_they_score_as_their_features_to_the_bit(model, features, given):
    latents = encode(model, features)
    assert (
        isinstance(latents, Latents)
        and len(latents) == len(features)
        and latents.dims == features.dims
    )
    pairs = []
    for images in (features, latents):
        training = images.where(split="train", label=0)
        test = images.where(split="test")
        pairs.append(
            score(model, test, calibrate(model, training), given=given, size=(16, 16))
        )
    for part in ("logp", "entropy"):
        torch.testing.assert_close(
            pairs[1].maps(part), pairs[0].maps(part), rtol=1e-5, atol=1e-6
        )
    same = encode(model, features.where(split="test"))
    calibration = calibrate(model, features.where(split="train"))
    whole = score(model, features.where(split="test"), calibration, given=given)
    assert torch.equal(score(model, same, calibration, given=given).logp, whole.logp), (
        "the same batches, the same bits"
    )


def test_a_selection_keeps_what_belongs_to_its_images(model, features):
    latents = encode(model, features)
    (few,) = latents.take([70, 3]).batches()
    (whole,) = latents.batches(len(latents))
    for (z, log_det), (all_z, all_log_dets) in zip(few, whole):
        assert torch.equal(z, all_z[[70, 3]]) and torch.equal(
            log_det, all_log_dets[[70, 3]]
        )
    z, log_det = model.levels[1](features.take([70]).read()[1].flatten(0, 1).float())
    torch.testing.assert_close(few[1][0][0], z.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(few[1][1][0], log_det.detach(), rtol=1e-4, atol=1e-5)


def test_a_flow_that_depends_on_the_class_has_no_latents_by_itself(model, features):
    model.own["0/levels.0.flow.module_list.0.inner_bias"] = torch.zeros(1)
    with pytest.raises(ValueError, match="one flow for all classes"):
        encode(model, features)
