"""Tables of version 0.1 are read where the measurement is still the same."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import experiments
from analysis.former import FORMER, former_table
from cl_flow import Run

OLD = Path(__file__).resolve().parents[1] / "data" / "run-0.1"
ROOMS = ("detection", "centers", "expansion", "ledger")

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the code of 0.1 parses otherwise there"
)


@pytest.fixture
def old(tmp_path) -> Run:
    """A run of version 0.1 with its tables."""
    shutil.copytree(OLD, tmp_path / "old")
    place = tmp_path / "old" / "images-replay-s0-c64b74"
    return Run(place, root=tmp_path / "old" / "images")


def experiment(name: str):
    """The experiment of a name, in whichever module of a room it is."""
    places = ("measure", "transplants", "moves")
    for room in ROOMS:
        for place in places:
            try:
                module = importlib.import_module(f"analysis.{room}.{place}")
            except ModuleNotFoundError:
                continue
            if hasattr(module, name):
                return getattr(module, name)
    raise KeyError(name)


@pytest.mark.parametrize("name", FORMER)
def test_a_table_of_before_is_what_is_measured_today(old, name):
    path = former_table(old, name, {})
    assert path is not None
    before, now = pd.read_parquet(path), experiment(name).__wrapped__(old)
    assert list(now.columns) == list(before.columns) and len(now) == len(before)
    for column in now.columns:
        if pd.api.types.is_float_dtype(now[column]):
            apart = np.nanmean(np.abs(now[column] - before[column]))
            assert apart <= 1e-3 * (1 + np.nanmean(np.abs(before[column]))), column
        elif not isinstance(now[column].iloc[0], (list, np.ndarray)):
            assert now[column].tolist() == before[column].tolist()


def test_it_is_read_and_nothing_is_measured(old, monkeypatch):
    monkeypatch.setattr(experiments, "code_digest", None)
    table = analysis.evaluate(old)
    assert len(table) == 30 and set(table["run"]) == {old.name}
    same = analysis.evaluate(old, scoring=analysis.Scoring())
    pd.testing.assert_frame_equal(same, table)


def test_other_options_are_measured(old):
    scoring = analysis.Scoring(part="logp", size=32)
    assert former_table(old, "evaluate", {"scoring": scoring}) is None
    assert set(analysis.evaluate(old, scoring=scoring)["part"]) == {"logp"}


def test_a_run_of_today_holds_none(old):
    path = old.folder / "run.json"
    path.write_text(json.dumps({**old.facts, "data": "0" * 32}))
    assert former_table(old, "evaluate", {}) is None
