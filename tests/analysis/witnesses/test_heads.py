"""Heads are what their formulas say, and outputs of blocks end in the latents."""

import numpy as np
import pytest
import torch

from analysis.witnesses.blocks import block_outputs
from analysis.witnesses.heads import SHRINKAGE, class_head, one_class_head
from cl_flow.scoring.latents import encode


def clouds(n: int) -> list[torch.Tensor]:
    """Patches of three classes that overlap."""
    generator = torch.Generator().manual_seed(0)
    shape = torch.randn(5, 5, generator=generator)
    means = torch.randn(3, 5, generator=generator)
    return [m + torch.randn(n, 5, generator=generator) @ shape for m in means]


def test_the_class_head_is_a_ridge_regression_of_one_hot_classes():
    training = clouds(200)
    x = torch.cat(training).double()
    y = torch.eye(3).double().repeat_interleave(200, 0)
    center = x.mean(0)
    ridge = SHRINKAGE * (x - center).square().mean() * len(x) * torch.eye(5)
    gram = (x - center).T @ (x - center) + ridge
    slopes = torch.linalg.solve(gram, (x - center).T @ (y - y.mean(0)))
    expected = ((x - center) @ slopes + y.mean(0)).argmax(1)
    told = class_head(training)(x)
    assert torch.equal(told, expected) and 0.4 < (told == y.argmax(1)).double().mean()


def test_classes_weigh_the_same_however_many_patches_they_have():
    few, *others = clouds(400)
    x = torch.cat([few, *others])
    told = class_head([few, *others])(x)
    again = class_head([few.repeat(5, 1), *others])(x)
    assert torch.equal(told, again)


def test_the_one_class_head_is_the_density_of_a_gaussian():
    (x, *_) = clouds(500)
    x = x.double()
    covariance = (x - x.mean(0)).T @ (x - x.mean(0)) / len(x)
    law = torch.distributions.MultivariateNormal(x.mean(0), covariance)
    found = one_class_head(x)(x)
    assert np.corrcoef(found, law.log_prob(x))[0, 1] > 0.99
    assert found.mean().item() == pytest.approx(
        law.log_prob(x).mean().item() / 5, abs=0.05
    )


def test_outputs_begin_with_the_features_and_end_in_the_latents(healthy, turned):
    outputs = list(block_outputs(healthy, turned, 0))
    assert len(outputs) == healthy.config.n_blocks + 1
    torch.testing.assert_close(outputs[0], turned.read()[0].float())
    latents = torch.from_numpy(encode(healthy, turned).levels[0])
    torch.testing.assert_close(outputs[-1], latents)


def test_a_flow_that_depends_on_the_class_has_no_output(healthy, turned):
    model = healthy.fresh().expand_(healthy.categories)
    model.own = {"ant": torch.zeros(1)}
    with pytest.raises(ValueError, match="one flow for all classes"):
        next(block_outputs(model, turned, 0))
