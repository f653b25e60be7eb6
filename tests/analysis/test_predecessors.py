"""Claims on predecessors: each has a measurement and a control, and a planted answer."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Interval, Resampling
from analysis.predecessors import (
    PREDECESSORS,
    VERDICTS,
    measure_predecessors,
    pair_means,
    verdict_of,
)
from analysis.scoring import Scoring
from analysis.studies import SMALL, Study
from cl_flow.model import IUFConfig, UniADConfig

FEW = Resampling(n_resamples=50)


@pytest.mark.parametrize("expects", [1, -1])
@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.3, "holds"),
        (-0.3, -0.1, "does not hold"),
        (-0.1, 0.2, "undecided"),
        (0.0, 0.0, "undecided"),
        (np.nan, np.nan, "undecided"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(low, high, word, expects):
    low, high = sorted((expects * low, expects * high))
    assert verdict_of(Interval((low + high) / 2, low, high), expects) == word


def test_means_of_pairs_leave_the_diagonal_out():
    matrix = np.array([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
    samples = pair_means(matrix, FEW)
    assert samples.shape == (51,) and samples[0] == pytest.approx(3.5)
    known = samples[np.isfinite(samples)]
    assert known.min() >= 1 and known.max() <= 6
    alike = pair_means(np.full((4, 4), 0.25), FEW)
    np.testing.assert_allclose(alike[np.isfinite(alike)], 0.25)


@pytest.fixture(scope="module")
def plan(tiny) -> Study:
    shape = {**SMALL, "side": 4, "width": 8, "n_heads": 2, "hidden": 16, "epochs": 4}
    iuf = IUFConfig(**shape, n_gate_heads=2, gate_hidden=16)
    base = tiny.replace(uniad=UniADConfig(**shape), iuf=iuf)
    base = base.replace(train=dataclasses.replace(base.train, epochs=4))
    return Study("tiny", base, (0,), Scoring(size=32))


@pytest.fixture(scope="module")
def measured(plan) -> pd.DataFrame:
    return measure_predecessors(plan, resampling=FEW)


def test_a_claim_asked_for_alone_has_its_row_and_trains_nothing_else(
    plan, measured, monkeypatch
):
    trained = []
    fit = Study.fit

    def noted(self, *strategies, **given):
        trained.append((*strategies, *given.get("options", {}).items()))
        return fit(self, *strategies, **given)

    monkeypatch.setattr(Study, "fit", noted)
    alone = measure_predecessors(plan, claim=("room",), resampling=FEW)
    row = measured[measured["claim"] == "room"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, row)
    assert set(trained) == {("sparse", ("overlap", "frozen")), ("finetune",)}
    with pytest.raises(KeyError, match="Unknown claim .rooms"):
        measure_predecessors(plan, claim=("rooms",))


def test_every_claim_is_measured_beside_its_control(measured):
    assert list(measured["claim"]) == list(PREDECESSORS)
    assert set(measured["verdict"]) <= set(VERDICTS.values())
    for name in ("value", "control", "difference"):
        rows = measured[[name, f"{name}_low" if name != "value" else "low"]]
        assert rows.notna().all(axis=None)


def test_a_difference_is_that_of_its_two_numbers(measured):
    apart = measured["value"] - measured["control"]
    np.testing.assert_allclose(measured["difference"], apart, atol=1e-9)
    assert (measured["difference_low"] <= measured["difference"] + 1e-9).all()
    assert (measured["difference"] <= measured["difference_high"] + 1e-9).all()


def test_shares_are_shares(measured):
    shares = measured[measured["claim"].isin(["harm", "head", "head kept"])]
    values = shares[["value", "control"]]
    assert ((values >= 0) & (values <= 1)).all(axis=None)
