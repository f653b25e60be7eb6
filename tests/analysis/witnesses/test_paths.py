"""The straight line between two models: level where nothing happened, falling where
training just went on, and with a barrier where the same function has its hidden units
in another order, until they are matched.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.intervals import Resampling
from analysis.scoring import Scoring
from analysis.witnesses import measure_path, path_barriers, path_finding, path_levels
from analysis.witnesses.between import between, match_units
from analysis.witnesses.measure_paths import line, refuse_other_start
from analysis.witnesses.plot_paths import plot_path
from cl_flow import TrainConfig, fit
from cl_flow.training.loop import train
from tests.analysis.turned import CLASSES
from tests.analysis.witnesses.conftest import as_table

FEW = Resampling(n_resamples=200)
SCORING = Scoring(metric="image_auroc", part="product", size=24, sigma=1.0)


def barriers(start, end, features) -> pd.DataFrame:
    points = (0.0, 0.25, 0.5, 0.75, 1.0)
    rows = line(start, end, features, CLASSES, points=points, scoring=SCORING)
    found = path_barriers(as_table(rows.assign(units="trained")), resampling=FEW)
    return found.set_index(["centers", "metric"])[["value", "low", "high"]]


def permuted(model):
    """The same function, its hidden units in another order."""
    model = between(model, model, 0.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for level in model.levels:
            for block in level.flow:
                order = torch.randperm(len(block.inner_bias), generator=generator)
                block.inner_weight.copy_(block.inner_weight[order])
                block.position_weight.copy_(block.position_weight[order])
                block.inner_bias.copy_(block.inner_bias[order])
                block.outer.weight.copy_(block.outer.weight[:, order])
    return model


@pytest.fixture(scope="module")
def trained_on(healthy, turned):
    """The healthy model after some more steps."""
    model = between(healthy, healthy, 0.0)
    options = TrainConfig(epochs=10, batch_images=10, lr=2e-3)
    train(model, turned.where(split="train"), options, progress=False)
    return model


def test_from_a_model_to_itself_there_is_no_barrier(healthy, turned):
    assert not barriers(healthy, healthy, turned).any(axis=None)


def test_training_that_went_on_stays_in_its_valley(healthy, trained_on, turned):
    found = barriers(healthy, trained_on, turned)
    assert (found["value"] < 0.01).all()


def test_permuted_units_are_a_barrier_that_matching_removes(healthy, turned):
    ill = permuted(healthy)
    x = turned.read()[0].flatten(0, 1).float()
    torch.testing.assert_close(ill.levels[0](x), healthy.levels[0](x))
    found = barriers(healthy, ill, turned)
    assert (found.loc[("interpolated", "nll"), "low"] > 0.1).all()
    assert found.loc[("interpolated", "image_auroc"), "low"] > 0.05
    assert not barriers(healthy, match_units(ill, healthy), turned).any(axis=None)


def test_the_ends_of_the_line_are_the_two_models(healthy, trained_on):
    for share, model in ((0.0, healthy), (1.0, trained_on)):
        here = between(healthy, trained_on, share).state_dict()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(here[name], value)
    half = between(healthy, trained_on, 0.5)
    models = (healthy, half, trained_on)
    one, half, two = (model.levels[0].flow[0].outer.weight for model in models)
    torch.testing.assert_close(half, (one + two) / 2)


def test_models_without_a_line_between_them_are_refused(healthy):
    other = healthy.fresh().expand_(["cat", "dog"])
    with pytest.raises(ValueError, match="Expected two models with the same rotations"):
        between(healthy, other, 0.5)


def test_a_run_is_led_to_its_cumulative_sister(tiny, tmp_path):
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=1))
    run = fit(config, folder=tmp_path, progress=False)
    scoring = Scoring(metric="image_auroc", part="product", size=32)
    table = measure_path(run, points=(0, 0.5, 1), scoring=scoring)
    keys = ["category", "units", "centers", "share", "metric"]
    assert not table.duplicated(keys).any() and len(table) == 3 * 2 * 2 * 3 * 2
    sister = fit(config.replace(strategy="cumulative"), folder=tmp_path, progress=False)
    refuse_other_start(run, sister)
    levels = path_levels(table, resampling=FEW)
    assert len(levels) == 2 * 2 * 3 * 2 and set(levels["metric"]) == {
        "image_auroc",
        "nll",
    }
    found = path_finding(table, resampling=FEW)
    assert found[["run", "task"]].to_numpy().tolist() == [[run.name, 0]]
    ax = plot_path(levels)
    assert len(ax.lines) == 4 and len(ax.get_legend().get_texts()) == 2
    assert np.allclose(ax.lines[0].get_xdata(), [0, 0.5, 1])
    inside = table[table["share"] > 0]
    with pytest.raises(ValueError, match=r"a line from 0 to 1, .*; got one from 0\.5"):
        path_barriers(inside, resampling=FEW)
    other = fit(config.replace(seed=5), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="same model after the first task"):
        refuse_other_start(run, other)
