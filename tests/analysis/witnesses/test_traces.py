"""An alarm where something was planted, and silence where nothing was."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.ledger.illnesses import ILLNESSES
from analysis.witnesses import measure_traces, plot_leads, trace_leads
from analysis.witnesses.measure_readings import TRACES, Readings
from cl_flow import fit

KEYS = {"run": "r", "strategy": "planted", "step": 1}


def scored(n_steps: int, n_right: int) -> dict:
    """A test of ten normal images and ten anomalous ones, some of these found."""
    labels = np.repeat([0, 1], 10)
    scores = np.repeat([1.0, 2.0, 0.0], [10, n_right, 10 - n_right])
    row = {"n_steps": n_steps, "trace": "image_auroc", "category": "ant"}
    return {**row, "value": n_right / 10, "labels": labels, "scores": scores}


def traces(models, right=(9, 9)) -> pd.DataFrame:
    """What is read of one model after the other, and a test at both ends."""
    read = Readings(models[0], n_draws=64)
    rows = [
        {"n_steps": n_steps, "trace": name, "value": value, "category": "all"}
        for n_steps, model in enumerate(models)
        for name, value in read(model).items()
    ]
    rows += [scored(n, k) for n, k in zip((0, len(models) - 1), right)]
    return pd.DataFrame(rows).assign(**KEYS)


def alarms(models) -> dict[str, float]:
    return trace_leads(traces(models)).set_index("trace")["alarm"].to_dict()


def test_a_model_that_stays_as_it_is_raises_no_alarm(healthy):
    assert np.isnan(list(alarms([healthy] * 60).values())).all()


def test_a_turn_is_told_by_the_divergence_within_one_reading(healthy):
    ill = ILLNESSES["latents_rotated"](healthy)
    found = alarms([healthy] * 30 + [ill] * 30)
    assert found["kl"] == found["nll"] == 49, "at the twentieth far reading"
    assert np.isnan(found["margin"])


def test_drifting_centers_alarm_the_margin_and_not_the_divergence(healthy):
    models = []
    for n_steps in range(60):
        model = copy.deepcopy(healthy)
        for level in model.levels:
            mu = level.mixture.mu.detach()
            share = max(0, n_steps - 25) / 100
            level.mixture = level.mixture.replace(mu=(1 - share) * mu)
        models.append(model)
    found = alarms(models)
    assert found["margin"] == 45 and np.isnan([found["kl"], found["log_det"]]).all()


def test_the_lead_is_counted_back_from_half_the_drop(healthy):
    table = traces([healthy] * 60, right=(9, 5))
    kl = table["trace"] == "kl"
    table.loc[kl & (table["n_steps"] >= 22), "value"] += 1.0
    found = trace_leads(table).set_index("trace")
    told = found.loc["kl", ["alarm", "half", "lead"]].to_numpy(float)
    assert told == pytest.approx([41, 29.5, -11.5])
    assert found.loc["kl", "low"] == pytest.approx(-11.5), "between two tests"
    assert np.isnan(found.loc["margin", "lead"])
    late = table[~kl | (table["n_steps"] < 41)]
    assert np.isnan(trace_leads(late).set_index("trace").loc["kl", "alarm"])


def test_half_the_drop_is_as_sure_as_the_images_are_many(healthy):
    table = traces([healthy] * 60, right=(9, 5))
    more = pd.DataFrame([scored(20, 8), scored(40, 6)]).assign(**KEYS)
    table = pd.concat([table, more], ignore_index=True)
    table.loc[(table["trace"] == "kl") & (table["n_steps"] >= 22), "value"] += 1.0
    row = trace_leads(table).set_index("trace").loc["kl"]
    assert row["half"] == pytest.approx(30) and row["low"] < row["lead"] < row["high"]


def test_a_rise_of_auroc_is_no_drop(healthy):
    table = traces([healthy] * 45, right=(5, 9))
    assert np.isnan(trace_leads(table)[["half", "lead", "low"]]).all(axis=None)
    with pytest.raises(ValueError, match="Expected 30 readings .* and 20 .*; got 45"):
        trace_leads(table, n_start=30)
    chance = traces([healthy] * 45, right=(9, 8))
    assert np.isnan(trace_leads(chance)["half"]).all(), "one image of ten"


def test_a_run_is_learned_again_and_stays_as_it_is(tiny, tmp_path):
    train = dataclasses.replace(tiny.train, epochs=10, lr=1e-2)
    run = fit(tiny.replace(train=train), folder=tmp_path, progress=False)
    before = (run.folder / "step-01.safetensors").read_bytes()
    table = measure_traces(run, test_every=8, n_draws=32)
    assert (run.folder / "step-01.safetensors").read_bytes() == before
    n_steps = table["n_steps"].max()
    readings = table[table["trace"] == "nll"]["n_steps"]
    assert readings.tolist() == list(range(n_steps + 1))
    assert set(table["trace"]) == {*TRACES, "image_auroc"}
    tested = table[table["trace"] == "image_auroc"]
    assert set(tested["category"]) == set(run.tasks[0])
    assert set(tested["n_steps"]) == {*range(0, n_steps + 1, 8), n_steps}
    with pytest.raises(ValueError, match="Expected a step from 1 to 1 .*; got 0"):
        measure_traces(run, step=0)


def test_at_no_rate_no_reading_changes_by_a_bit(tiny, tmp_path):
    still = dataclasses.replace(tiny.train, epochs=12, lr=1e-30, weight_decay=0.0)
    run = fit(tiny.replace(train=still), folder=tmp_path, progress=False)
    table = measure_traces(run, test_every=100, n_draws=32)
    own = table[table["trace"].isin(TRACES)]
    assert (own.groupby("trace")["value"].nunique() == 1).all()
    assert np.isnan(trace_leads(table, n_start=5, patience=5)["alarm"]).all()


def test_leads_are_points_and_silence_is_told():
    leads = pd.DataFrame(
        {"trace": ["kl", "margin", "nll"], "lead": [5, np.nan, np.nan]}
    )
    leads["alarm"] = [30, np.nan, 30]
    leads = leads.assign(low=leads["lead"] - 1, high=leads["lead"] + 2)
    ax = plot_leads(leads.assign(strategy="ewc"))
    told = {text.get_text() for text in ax.texts}
    assert told == {"silent", "alarm, but nothing fell"}
    assert [5, 1] in ax.lines[1].get_xydata().tolist()


def test_a_strategy_whose_flow_depends_on_the_class_is_refused(tiny, tmp_path):
    run = fit(tiny.replace(strategy="lora"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="weights or conditions of some classes|flow"):
        measure_traces(run)
