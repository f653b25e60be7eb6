"""Training as a witness: heard where it is cheap, on the run that was given."""

import logging

import pytest

from analysis.judgement import control_seconds, planted_recovery, training_witness
from analysis.recovery.measure import never_learned_config
from analysis.scoring import Scoring
from cl_flow import fit

SCORING = Scoring(metric="image_auroc", part="product", size=16)


def test_without_training_nothing_is_measured(run):
    assert training_witness(run, train=False, scoring=SCORING) is None


def test_a_control_that_takes_long_is_replaced_by_an_untrained_one(
    run, monkeypatch, caplog
):
    monkeypatch.setattr("analysis.judgement.measure.CHEAP", -1.0)
    with caplog.at_level(logging.INFO):
        found = training_witness(run, scoring=SCORING)
    assert set(found["probe"]) == {"learned", "forgotten", "untrained"}
    assert "train=True trains it" in caplog.text


def test_a_cheap_control_is_trained_and_then_costs_nothing(run):
    assert control_seconds(run) > 0
    found = training_witness(run, scoring=SCORING)
    assert set(found["probe"]) == {"learned", "forgotten", "never_learned"}
    assert control_seconds(run) == 0
    fit(never_learned_config(run), folder=run.folder.parent, progress=False)


def test_planted_recovery_holds_every_illness_beside_its_controls(run):
    illness = ("nothing", "latents_rotated+blocks_reset")
    found = planted_recovery(
        run, illness=illness, steps=(0, 1), shots=2, scoring=SCORING
    )
    probes = found.groupby("illness")["probe"].unique().map(set)
    assert set(probes.index) == set(illness)
    assert all(each == {"learned", "forgotten", "untrained"} for each in probes)
    start = found[(found["n_steps"] == 0) & (found["illness"] == "nothing")]
    values = start.groupby("probe")["value"].mean()
    assert values["forgotten"] == pytest.approx(values["learned"])
    with pytest.raises(KeyError, match="Unknown illness 'flu'"):
        planted_recovery(run, illness=("nothing+flu",), steps=(0,), scoring=SCORING)
