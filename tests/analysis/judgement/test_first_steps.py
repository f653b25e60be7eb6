"""What the first steps move, and what carries the return: shares that add up, and a
return through the mixture alone where the mixture alone was harmed.
"""

import numpy as np
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
