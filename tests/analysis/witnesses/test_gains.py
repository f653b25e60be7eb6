"""Forgetting as a share of the gain: a task that was never learned is not one that was
kept.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Resampling
from analysis.ledger.illnesses import ILLNESSES
from analysis.scoring import Scoring
from analysis.witnesses import (
    forgetting_finding,
    measure_learning,
    plot_relative_forgetting,
    relative_forgetting,
)
from analysis.witnesses.measure_gains import stages
from cl_flow import fit
from tests.analysis.turned import CLASSES
from tests.analysis.witnesses.conftest import as_table

FEW = Resampling(n_resamples=200)
SCORING = Scoring(metric="image_auroc", part="product", size=24, sigma=1.0)


def told(before, learned, last, features) -> pd.Series:
    models = {"before": before, "learned": learned, "last": last}
    table = as_table(stages(models, features, CLASSES, scoring=SCORING))
    (row,) = relative_forgetting(table, resampling=FEW).itertuples()
    return row


@pytest.fixture(scope="module")
def untrained(healthy):
    return healthy.fresh().expand_(CLASSES)


def test_a_healthy_model_lost_nothing_of_much(healthy, untrained, turned):
    row = told(untrained, healthy, ILLNESSES["nothing"](healthy), turned)
    assert row.gain_low > 0.1 and (row.value, row.low, row.high) == (0, 0, 0)


def test_what_is_reset_to_the_start_lost_all_it_had_gained(healthy, untrained, turned):
    row = told(untrained, healthy, untrained, turned)
    assert (row.value, row.low, row.high) == (1, 1, 1) and row.drop == row.gain > 0.1
    ill = told(untrained, healthy, ILLNESSES["blocks_reset"](healthy), turned)
    assert ill.low > 0.5 and ill.low < ill.value < ill.high


def test_what_was_never_learned_was_not_kept(untrained, turned):
    row = told(untrained, untrained, untrained, turned)
    assert (row.gain, row.drop) == (0, 0) and np.isnan([row.value, row.low]).all()


def test_a_run_at_no_rate_gains_nothing(tiny, tmp_path):
    still = dataclasses.replace(tiny.train, lr=1e-30, weight_decay=0.0)
    run = fit(tiny.replace(train=still), folder=tmp_path, progress=False)
    table = measure_learning(run, scoring=Scoring(metric="image_auroc", part="logp"))
    assert np.isnan(relative_forgetting(table, part="logp")["value"]).all()


def test_a_run_is_scored_at_three_times(run):
    scoring = Scoring(metric="image_auroc", part="product", size=32)
    table = measure_learning(run, scoring=scoring)
    assert len(table) == 3 * 3 and set(table["when"]) == {"before", "learned", "last"}
    found = forgetting_finding(table, resampling=FEW)
    assert found[["run", "task"]].to_numpy().tolist() == [[run.name, 0]]


def test_tasks_without_a_gain_are_named_and_not_drawn():
    ratios = pd.DataFrame({"task": [0, 1], "value": [0.4, np.nan], "strategy": "ewc"})
    low, high = ratios["value"] - 0.1, ratios["value"] + 0.1
    ax = plot_relative_forgetting(ratios.assign(low=low, high=high))
    assert ax.lines[0].get_xydata().tolist() == [[1, 0.4]]
    assert [text.get_text() for text in ax.texts] == ["no gain"]
    assert ax.texts[0].xy == (2, 0.5)
