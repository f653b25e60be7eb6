"""What the first steps move, and what carries the return, by hand and on a run."""

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Resampling
from analysis.judgement import (
    first_step_shares,
    measure_first_moves,
    measure_first_steps,
)
from analysis.scoring import Scoring

SCORING = Scoring(metric="image_auroc", part="product", size=16)


@pytest.fixture(scope="module")
def steps(run):
    return measure_first_steps(run, n_steps=(1, 2), shots=2, scoring=SCORING)


def test_the_terms_add_up_to_the_return(steps):
    shares = first_step_shares(steps, resampling=Resampling(n_resamples=20))
    wide = shares.pivot(index="n_steps", columns="term", values="value")
    parts = wide[["mixture", "flow", "together"]].sum(axis=1)
    np.testing.assert_allclose(parts, wide["return"], atol=1e-12)
    start, end = (
        steps[(steps["flow"] == when) & (steps["mixture"] == when)]
        .groupby("n_steps")["value"]
        .mean()
        for when in ("before", "after")
    )
    np.testing.assert_allclose(wide["return"], end - start, atol=1e-12)


def crossed(**levels: float) -> pd.DataFrame:
    """Hybrids with the given image AUROC, to a twentieth."""
    labels = np.repeat([0, 1], 20)
    rows = []
    for name, level in levels.items():
        n_right = round(20 * level)
        scores = np.r_[np.zeros(20), np.ones(n_right), -np.ones(20 - n_right)]
        rows.append((*name.split("_"), level, labels, scores))
    columns = ["flow", "mixture", "value", "labels", "scores"]
    keys = {"run": "r", "strategy": "s", "step": 1, "shots": 5, "lr": 0.1, "n_steps": 1}
    keys |= {"category": "ant", "metric": "image_auroc", "part": "product"}
    return pd.DataFrame(rows, columns=columns).assign(**keys)


def test_each_part_is_credited_with_its_own_gain():
    table = crossed(
        before_before=0.5, before_after=0.6, after_before=0.75, after_after=0.9
    )
    both = pd.concat([table, table.assign(lr=0.2, value=0.0)], ignore_index=True)
    shares = first_step_shares(both, resampling=Resampling(n_resamples=20))
    found = shares[shares["lr"] == 0.1].set_index("term")["value"]
    told = {"return": 0.4, "mixture": 0.1, "flow": 0.25, "together": 0.05}
    assert found.to_dict() == pytest.approx(told)
    assert len(shares) == 8, "no mean over rates"


def test_before_the_steps_is_the_same_for_every_number_of_them(steps):
    is_before = (steps["flow"] == "before") & (steps["mixture"] == "before")
    starts = steps[is_before].groupby("n_steps")["value"].mean()
    assert starts.nunique() == 1


def test_moves_begin_with_the_errors_before_any_step(run):
    moves = measure_first_moves(run, n_steps=(1, 2), shots=2)
    start = moves[moves["n_steps"] == 0]
    assert set(start["quantity"]) == {"center_error", "symmetric_kl"}
    found = set(moves[moves["n_steps"] == 1]["quantity"])
    assert {"centers", "drift", "volume", "cka", "discrepancy"} <= found
    blocks = moves[(moves["quantity"] == "cka") & (moves["n_steps"] == 2)]
    assert set(blocks["block"]) == set(range(run.config.flow.n_blocks + 1))
    assert blocks[blocks["block"] == 0]["value"].to_numpy() == pytest.approx(1)
    assert (moves[moves["quantity"] == "centers"]["value"] > 0).all()
