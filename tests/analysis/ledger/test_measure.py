"""The ledger of a tiny run: its identity, its invariants, and that every state is the
model it says.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.detection.measure import evaluate
from analysis.intervals import Resampling
from analysis.ledger.attribution import TERMS
from analysis.ledger.conclude import (
    ledger_families,
    ledger_shapley,
    ledger_shares,
    ledger_terms,
)
from analysis.ledger.measure import counterfactuals, measure_ledger, refit_centers
from analysis.ledger.swaps import swap
from analysis.scoring import Scoring, measure
from cl_flow import Run, RunConfig, fit

SPLIT = [*TERMS, "drop"]


@pytest.fixture(scope="module")
def config(tiny) -> RunConfig:
    """Trained until something moves."""
    return tiny.replace(train=dataclasses.replace(tiny.train, epochs=20, lr=1e-2))


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> Run:
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def measured(run) -> pd.DataFrame:
    return measure_ledger(
        run,
        scoring=Scoring(metric="image_auroc", given=("category", None), size=32),
        tasks=(0, 1),
        family=("means", "full"),
    )


def pivoted(
    measured: pd.DataFrame, by: str = "category", **options: object
) -> pd.DataFrame:
    terms = ledger_terms(
        measured, by=by, resampling=Resampling(n_resamples=50), **options
    )
    keys = [
        column for column in ("given", "part", "task", "category") if column in terms
    ]
    return terms.pivot(index=keys, columns="term", values="value")


@pytest.mark.parametrize("by", ["task", "category", "all"])
@pytest.mark.parametrize("family", ["means", "full"])
def test_the_identity(measured, by, family):
    terms = pivoted(measured, by, family=family)
    np.testing.assert_allclose(
        terms[list(TERMS)].sum(axis=1), terms["drop"], atol=1e-12, rtol=0
    )
    np.testing.assert_allclose(
        terms["learned"] - terms["final"], terms["drop"], atol=1e-12, rtol=0
    )


def test_both_ends_are_what_evaluate_says(run, measured):
    evaluated = evaluate(
        run, scoring=Scoring(metric="image_auroc", given=("category", None), size=32)
    )
    terms = pivoted(measured)
    for (given, part, task, category), row in terms.iterrows():
        for step, name in ((task, "learned"), (1, "final")):
            chosen = evaluated[
                (evaluated["step"] == step) & (evaluated["category"] == category)
            ]
            chosen = chosen[(chosen["part"] == part) & (chosen["given"] == given)]
            assert row[name] == pytest.approx(chosen["value"].item(), abs=1e-12), (
                given,
                part,
                category,
                name,
            )


def test_the_likelihood_of_a_given_class_knows_no_confusion(measured):
    terms = pivoted(measured).xs(("category", "logp"))
    assert not terms["confusion"].any()
    assert (
        pivoted(measured).xs(("None", "logp")).loc[1, "confusion"].eq(0).all()
    )  # no class came after the last task


def test_the_task_just_learnt_has_lost_nothing(measured):
    terms = pivoted(measured).xs(1, level="task")
    assert len(terms) == 2 * 3 * 3 and not terms[SPLIT].any(axis=None)
    shares = ledger_shares(
        measured[measured["task"] == 1],
        family="full",
        resampling=Resampling(n_resamples=50),
    )
    assert shares["spurious_share"].isna().all() and not shares["drop"].any()


def test_frozen_centers_do_not_drift(config, tmp_path):
    run = fit(config.replace(centers="freeze_old"), folder=tmp_path, progress=False)
    terms = pivoted(
        measure_ledger(
            run, family=("means",), scoring=Scoring(metric="image_auroc", size=32)
        ),
        family="means",
    )
    assert not terms["center drift"].any() and terms["alignment"].any()


def test_a_frozen_flow_needs_no_alignment_and_leaves_no_residual(run):
    old, names = run[0].model(), run.tasks[0]
    new = swap(run[1].model(), old, "flow")
    rows = counterfactuals(
        old,
        new,
        run.features,
        names,
        family=("means", "affine"),
        scoring=Scoring(metric="image_auroc", size=32),
    )
    rows = rows.assign(strategy="frozen", step=1, task=0, given="category")
    for family in ("means", "affine"):
        terms = pivoted(rows, family=family)
        assert (
            not terms[["alignment", "residual"]].any(axis=None)
            and terms["confusion"].any()
        )


def test_the_order_of_the_ledger_is_one_of_those_that_shapley_averages(measured):
    players = ledger_shapley(measured, by="all", resampling=Resampling(n_resamples=50))
    drops = pivoted(measured, "all")["drop"]
    sums = players.groupby(["given", "part"])["value"].sum()
    np.testing.assert_allclose(sums.loc[drops.index], drops, atol=1e-12, rtol=0)
    mask = players.query("player == 'mask' and part == 'logp' and given == 'category'")
    assert mask[["value", "low", "high"]].eq(0).all(axis=None)
    assert (players["low"] <= players["value"] + 1e-12).all() and (
        players["value"] <= players["high"] + 1e-12
    ).all()


def test_a_state_is_the_model_that_it_says(run, measured):
    old, new, names = run[0].model(), run[1].model(), run.tasks[0]
    hybrid = swap(new, old, "flow")
    expected = measure(
        hybrid, run.features, names, scoring=Scoring(metric="image_auroc", size=32)
    ).set_index(["category", "part"])
    rows = measured.query(
        "flow == 'old' and centers == 'new' and mask == 'new' and given == 'category' and task == 0"
    )
    for row in rows.itertuples():
        np.testing.assert_allclose(
            row.scores,
            expected.loc[(row.category, row.part), "scores"],
            rtol=1e-3,
            atol=1e-4,
        )
    realigned = refit_centers(
        swap(swap(new, old, "mixture"), old, "mask"),
        run.features,
        names,
        family="means",
    )
    expected = measure(
        realigned, run.features, names, scoring=Scoring(metric="image_auroc", size=32)
    ).set_index(["category", "part"])
    rows = measured.query(
        "flow == 'new' and centers == 'means' and given == 'category' and task == 0"
    )
    for row in rows.itertuples():
        np.testing.assert_allclose(
            row.scores,
            expected.loc[(row.category, row.part), "scores"],
            rtol=1e-3,
            atol=1e-4,
        )


def test_refitting_to_means_puts_them_there(run):
    model, names = run[1].model(), run.tasks[0]
    refitted = refit_centers(
        model, run.features, names[:1], family="means", n_latents=10**6
    )
    x = (
        run.features.where(split="train", category=names[0])
        .read()[0]
        .flatten(0, 1)
        .float()
    )
    with torch.no_grad():
        z = model.levels[0](x)[0]
    torch.testing.assert_close(
        refitted.levels[0].mixture.mu[0], z.mean(0), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(
        refitted.levels[0].mixture.mu[1:], model.levels[0].mixture.mu[1:]
    )


def test_families_stand_beside_their_ceiling_and_their_control(measured):
    levels = ledger_families(measured, by="task", resampling=Resampling(n_resamples=20))
    one = levels.query(
        "task == 0 and part == 'product' and given == 'category'"
    ).set_index(["flow", "family"])["value"]
    assert set(one.index) == {
        (f, c) for f in ("old", "new", "untrained") for c in ("none", "means", "full")
    } - {("untrained", "none")}
    terms = pivoted(measured, "task", family="means").loc[("category", "product", 0)]
    assert one["old", "none"] == pytest.approx(terms["learned"])
    assert one["old", "means"] - one["new", "means"] == pytest.approx(terms["residual"])


def test_wrong_input_is_named(run, measured, config, tmp_path):
    with pytest.raises(
        ValueError, match=r"learned before it; got \[7\], and it knows \[0, 1\]"
    ):
        measure_ledger(run, tasks=(7,))
    with pytest.raises(ValueError, match="got none, and it knows"):
        measure_ledger(run, after=0)
    single = fit(config.replace(strategy="single"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"got \[0\], and it knows \[1\]"):
        measure_ledger(single, tasks=(0,))
    with pytest.raises(ValueError, match="the family 'affine'; there are: full, means"):
        ledger_terms(measured, family="affine")
    with pytest.raises(
        ValueError, match="by to be one of task, category, all; got 'image'"
    ):
        ledger_terms(measured, by="image")
