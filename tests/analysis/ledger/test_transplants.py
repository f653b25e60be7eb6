"""Transplants end in the models they begin with, and a block that did not change makes
no difference.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.ledger.measure import measure_ledger
from analysis.ledger.transplants import transplant
from analysis.scoring import Scoring
from cl_flow import Run, fit


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Run:
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=20, lr=1e-2))
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def hybrids(run) -> pd.DataFrame:
    return transplant(
        run,
        scoring=Scoring(metric="image_auroc", part=("logp", "product"), size=32),
        n_images=100,
    )


def test_every_number_of_blocks_is_there_once(run, hybrids):
    keys = ["task", "category", "side", "blocks", "centers", "part"]
    assert not hybrids.duplicated(keys).any() and set(hybrids["task"]) == {0}
    assert set(hybrids["blocks"]) == set(range(run.config.flow.n_blocks + 1))
    assert len(hybrids) == 3 * 2 * 3 * 2 * 2


def scores(table: pd.DataFrame) -> np.ndarray:
    return np.stack(list(table.sort_values(["category", "part"])["scores"]))


@pytest.mark.parametrize(("centers", "ours"), [("old", "old"), ("full", "full")])
def test_both_ends_are_states_of_the_ledger(run, hybrids, centers, ours):
    measured = measure_ledger(
        run,
        family=("full",),
        scoring=Scoring(metric="image_auroc", part=("logp", "product"), size=32),
    )
    measured = measured[(measured["centers"] == ours) & (measured["mask"] == "old")]
    for blocks, flow in ((0, "new"), (run.config.flow.n_blocks, "old")):
        for side in ("first", "last"):
            rows = hybrids[
                (hybrids["side"] == side)
                & (hybrids["blocks"] == blocks)
                & (hybrids["centers"] == centers)
            ]
            expected = scores(measured[measured["flow"] == flow])
            np.testing.assert_allclose(scores(rows), expected, rtol=1e-3, atol=1e-4)


def test_in_between_they_are_neither(hybrids):
    chosen = hybrids[hybrids["centers"] == "old"]
    kinds = [("first", 1), ("last", 1), ("first", 0), ("first", 2)]

    values = [
        scores(chosen[(chosen["side"] == side) & (chosen["blocks"] == n)])
        for side, n in kinds
    ]
    for i, one in enumerate(values):
        assert not any(np.allclose(one, other, rtol=1e-3) for other in values[:i])
