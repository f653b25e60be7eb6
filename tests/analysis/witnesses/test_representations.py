"""Outputs of blocks, then and now: what only turned is the same to an affine head, what
was reset is not, from its block on.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.intervals import Resampling
from analysis.ledger.illnesses import ILLNESSES
from analysis.witnesses.conclude import representation_finding, representation_levels
from analysis.witnesses.measure_moves import (
    measure_representations,
    representations,
)
from tests.analysis.turned import CLASSES
from tests.analysis.witnesses.conftest import N_BLOCKS, as_table, reset_from

FEW = Resampling(n_resamples=200)


def levels(old, new, features) -> pd.DataFrame:
    table = as_table(representations(old, new, features, CLASSES))
    found = representation_levels(table, resampling=FEW)
    assert (found["low"] - 1e-6 <= found["value"]).all()
    assert (found["value"] <= found["high"] + 1e-6).all()
    return (
        found.query("level == 'mean'")
        .set_index(["measure", "flow", "block"])
        .sort_index()
    )


@pytest.mark.parametrize(
    "illness", ["nothing", "centers_translated", "latents_rotated"]
)
def test_what_is_there_is_the_same(healthy, turned, illness):
    found = levels(healthy, ILLNESSES[illness](healthy), turned)
    assert (found.loc[("cka", "new"), "value"] > 1 - 1e-6).all()
    assert (found.loc[("discrepancy", "new"), "high"] < 1e-3).all()


def test_a_flattened_density_moves_and_loses_nothing(healthy, turned):
    found = levels(healthy, ILLNESSES["density_flattened"](healthy), turned)
    assert found.loc[("cka", "new", N_BLOCKS), "high"] < 0.9
    assert found.loc[("cka", "new", N_BLOCKS - 1), "value"] > 1 - 1e-6
    assert (found.loc[("discrepancy", "new"), "high"] < 1e-3).all()


@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_the_first_block_that_was_reset_is_named(healthy, turned, block):
    found = levels(healthy, reset_from(healthy, block), turned)
    missed = found.loc[("discrepancy", "new")]
    assert (missed.loc[:block, "high"] < 1e-3).all()
    assert (missed.loc[block + 1 :, "low"] > 0.05).all()


def test_a_flow_that_kept_nothing_is_no_nearer_than_an_untrained_one(healthy, turned):
    kept = representations(healthy, healthy, turned, CLASSES)
    lost = representations(healthy, reset_from(healthy, 0), turned, CLASSES)
    (first,) = representation_finding(as_table(kept), resampling=FEW).itertuples()
    (second,) = representation_finding(as_table(lost), resampling=FEW).itertuples()
    assert first.high < -0.2 and abs(second.value) < 0.15


def test_each_image_adds_to_the_value_as_the_jackknife_says(healthy, turned):
    ill = reset_from(healthy, 2)
    rows = representations(healthy, ill, turned, CLASSES)
    row = rows.query("measure == 'cka' and flow == 'new'").iloc[-1]
    held_out = turned.where(split="test", label=0)

    def cka(images) -> float:
        with torch.no_grad():
            x, y = (
                model.levels[0](images.read()[0].flatten(0, 1).float())[0].double()
                for model in (healthy, ill)
            )
        x, y = (z - centers for z, centers in zip((x, y), means))
        return float((y.T @ x).norm() ** 2 / (x.T @ x).norm() / (y.T @ y).norm())

    with torch.no_grad():
        patches = held_out.read()[0].flatten(0, 1).float()
        means = [m.levels[0](patches)[0].double().mean(0) for m in (healthy, ill)]
    n = len(held_out)
    assert row["value"] == pytest.approx(cka(held_out), rel=1e-4)
    without = cka(held_out.take(np.arange(1, n)))
    assert row["scores"][0] == pytest.approx(
        n * cka(held_out) - (n - 1) * without, rel=1e-2
    )


def test_a_run_is_compared_at_every_block_of_every_level(run):
    table = measure_representations(run)
    keys = ["task", "level", "block", "measure", "flow"]
    assert not table.duplicated(keys).any()
    assert len(table) == 2 * (run.config.flow.n_blocks + 1) * 2 * 2
    assert [len(one) for one in table["scores"]] == [3 * 4] * len(table)
    start = table[table["block"] == 0]
    assert np.allclose(start["value"], np.where(start["measure"] == "cka", 1, 0))


def test_one_image_alone_varies_not(healthy, turned):
    one = turned.take(
        np.flatnonzero(
            (turned.samples["split"] == "train")
            | (np.arange(len(turned)) == np.argmax(turned.samples["split"] == "test"))
        )
    )
    with pytest.raises(ValueError, match="Expected two normal test images .*; got 1"):
        representations(healthy, healthy, one, CLASSES)
