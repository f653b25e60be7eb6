"""What simple heads find behind each block: silent where nothing was lost, loud from
the block on that was reset, and silent again where the latents only turned.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Resampling, interval_of
from analysis.ledger.illnesses import ILLNESSES
from analysis.scoring import Scoring
from analysis.witnesses.conclude import accessibility_finding, accessibility_terms
from analysis.witnesses.measure import accessibility, measure_accessibility
from tests.analysis.turned import CLASSES
from tests.analysis.witnesses.conftest import N_BLOCKS, as_table, reset_from

FEW = Resampling(n_resamples=200)
SCORING = Scoring(metric="image_auroc", part="logp", size=24, sigma=1.0)


def measured(old, new, features) -> pd.DataFrame:
    return as_table(accessibility(old, new, features, CLASSES, scoring=SCORING))


def drops(table: pd.DataFrame, head: str) -> pd.DataFrame:
    terms = accessibility_terms(table, resampling=FEW)
    chosen = terms.query("head == @head and term == 'drop' and level == 'mean'")
    return chosen.set_index("block")[["value", "low", "high"]]


@pytest.mark.parametrize(
    "illness", ["nothing", "latents_rotated", "centers_translated"]
)
@pytest.mark.parametrize("head", ["class", "one_class"])
def test_what_the_flow_still_shows_is_not_missed(healthy, turned, illness, head):
    table = measured(healthy, ILLNESSES[illness](healthy), turned)
    assert np.abs(drops(table, head)).max(axis=None) < 1e-9


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_reset_is_found_from_its_block_on(healthy, turned, block):
    found = drops(measured(healthy, reset_from(healthy, block), turned), "one_class")
    assert not found.loc[:block].any(axis=None)
    assert found.loc[N_BLOCKS, "low"] > 0.1


def test_the_features_are_the_floor_and_the_flow_stands_above_it(healthy, turned):
    terms = accessibility_terms(measured(healthy, healthy, turned), resampling=FEW)
    above = terms.query("head == 'one_class' and term == 'above_features'")
    above = above[above["level"] == "mean"].set_index("block")
    assert above.loc[0, "value"] == 0 and above.loc[N_BLOCKS, "low"] > 0.1


def test_the_finding_is_one_interval_per_run_and_task(healthy, turned):
    table = measured(healthy, reset_from(healthy, 0), turned)
    both = pd.concat([table, table.assign(run="s")])
    found = accessibility_finding(both, resampling=FEW)
    assert found["run"].tolist() == ["r", "s"] and set(found["task"]) == {0}
    for row in found.itertuples():
        assert interval_of(row).low > 0.1
    expected = drops(table, "one_class").loc[N_BLOCKS, "value"]
    assert found["value"].tolist() == pytest.approx([expected] * 2)


def test_a_run_is_measured_at_every_block_of_every_level(run):
    table = measure_accessibility(run, scoring=Scoring(size=32))
    n_blocks = run.config.flow.n_blocks
    assert set(table["block"]) == set(range(n_blocks + 1)) and set(table["task"]) == {0}
    keys = ["category", "level", "block", "head", "flow"]
    assert not table.duplicated(keys).any()
    assert len(table) == 3 * 2 * (n_blocks + 1) * 2 * 2
    shares = table[table["head"] == "class"]
    assert shares["value"].between(0, 1).all()
    assert [len(one) for one in shares["scores"]] == [4] * len(shares)
    at_start = table[table["block"] == 0].pivot(
        index=["category", "level", "head"], columns="flow", values="value"
    )
    pd.testing.assert_series_equal(at_start["old"], at_start["new"], check_names=False)
    with pytest.raises(KeyError, match="Unknown head 'tail'"):
        measure_accessibility(run, head="tail")
