"""Likeness to the joint mixture: none to itself, none after an affine map, some where a
class has another shape; and rungs and medians by hand.
"""

import copy

import pandas as pd
import pytest
import torch

from analysis.alignment import ladder, likeness_table, measure_likeness
from analysis.alignment.likeness import _carried, _joining
from analysis.alignment.measure import class_gaussian, gaussian_errors
from analysis.ledger.illnesses import ILLNESSES
from cl_flow import fit
from cl_flow.align.statistics.gaussian import GaussianStats


def test_the_joint_model_is_like_itself(tiny, tmp_path):
    joint = fit(tiny.replace(strategy="joint"), folder=tmp_path, progress=False)
    found = measure_likeness(joint)
    errors = found[found["metric"] != "explained"]["value"]
    assert errors.abs().max() < 1e-3 and len(errors)
    explained = found[found["metric"] == "explained"]["value"]
    assert explained.to_numpy() == pytest.approx(1)


def test_a_fine_tuned_run_is_not(run):
    found = measure_likeness(run)
    assert set(found["metric"]) == {"center_error", "symmetric_kl", "explained"}
    assert set(found[found["category"] != ""]["category"]) == set(run[-1].categories)
    table = likeness_table(found)
    assert table["symmetric_kl"].item() > 0 and table["explained"].item() <= 1
    other = likeness_table(measure_likeness(run, joint_seed=1))
    assert other["symmetric_kl"].item() != table["symmetric_kl"].item()


def test_what_an_affine_map_explains_is_no_difference(run):
    """A turned flow with turned centers is the same density, and one map says so."""
    model = run[-1].model()
    turned = ILLNESSES["latents_rotated"](model)
    x = torch.randn(64 * len(model.levels[0].codes), model.dims[0])
    z, other = (one.levels[0](x)[0].detach() for one in (model, turned))
    weight, bias, explained = _joining(z, other)
    assert explained == pytest.approx(1, abs=1e-6)
    own = class_gaussian(model.levels[0].mixture, 0)
    there = GaussianStats(
        own.n,
        own.mean @ weight.T + bias,
        weight @ own.covariance() @ weight.T * own.n[:, None, None],
    )
    assert max(gaussian_errors(_carried(own, weight, bias), there)) < 1e-6
    wider = copy.deepcopy(there)
    wider.scatter.mul_(4)
    assert gaussian_errors(_carried(own, weight, bias), wider)[1] > 0.1


def test_rungs_are_those_measured_in_their_order():
    rows = [
        ("finetune", "none", "", 0.6),
        ("finetune", "refit", "means", 0.65),
        ("finetune", "pushforward", "means", 0.61),
        ("finetune", "pushforward", "full", 0.68),
        ("finetune", "refit", "full", 0.7),
        ("finetune", "joint", "", 0.9),
        ("replay", "none", "", 0.8),
    ]
    table = pd.DataFrame(rows, columns=["strategy", "aligner", "head", "image_auroc"])
    zeros = ["low", "high", "gap", "gap_low", "gap_high", "n_bytes"]
    found = ladder(table.assign(**dict.fromkeys(zeros, 0.0)))
    of_run = found[found["strategy"] == "finetune"].set_index("rung")["image_auroc"]
    assert of_run.to_dict() == {
        "as trained": 0.6,
        "draws through the flow": 0.68,
        "refit, means": 0.65,
        "refit, covariances": 0.7,
    }
    assert list(found[found["strategy"] == "replay"]["rung"]) == ["as trained"]
