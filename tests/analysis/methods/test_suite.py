"""The suite of methods: every one at every strength, kept where the notebook finds it."""

import dataclasses

import pytest

from analysis import load_reference
from analysis.methods import (
    contrast_methods,
    load_methods,
    measure_methods,
    methods_beside,
    suite_hours,
)
from analysis.methods.measure import compare_methods
from analysis.methods.suite import PEERS, fit_few_methods, fit_methods
from analysis.studies import Study
from cl_flow import STRATEGIES
from cl_flow.paths import DATA


@pytest.fixture(scope="module")
def plan(tiny) -> Study:
    flow = dataclasses.replace(tiny.flow, n_blocks=1)
    return Study(
        "tiny-suite",
        tiny.replace(train=dataclasses.replace(tiny.train, epochs=1), flow=flow),
        (0,),
    )


@pytest.fixture(scope="module")
def few(plan) -> list:
    return fit_few_methods(plan)


def test_a_few_methods_are_of_different_kinds(few):
    assert [run.strategy for run in few] == ["finetune", "joint", "replay", "ewc"]


def test_the_slides_rows_stand_beside_ours_at_every_strength(plan):
    runs = [*plan.fit("finetune", "joint"), *plan.fit_grid("ewc")]
    both = methods_beside(
        compare_methods(runs, time_steps=False), load_reference("slides_methods")
    )
    assert len(both) == 1 + len(STRATEGIES["ewc"].GRID)
    assert (
        both.loc[both.index.str.startswith("+EWC"), ("slides", "image_auroc")] == 0.520
    ).all()
    assert both.loc["HGAD: finetune", ("slides", "image_forgetting")] == -0.334
    assert both["ours"].notna().all().all()


def test_hours_grow_with_seeds(plan):
    assert (
        0
        < suite_hours(plan)
        == pytest.approx(suite_hours(dataclasses.replace(plan, seeds=(0, 1))) / 2)
    )


@pytest.mark.slow
def test_everything_is_trained_measured_and_kept(plan):
    assert load_methods(plan) is None
    suite = measure_methods(plan)
    trained = fit_methods(plan)
    assert {run.strategy for run in trained} == {
        *PEERS,
        "finetune",
        "joint",
        "cumulative",
    }
    assert (
        len({run.name for run in trained})
        == len(trained)
        == 5 + sum(len(STRATEGIES[n].GRID) for n in PEERS)
    )
    kept = load_methods(plan)
    assert kept.compared.equals(suite.compared) and set(kept.contrasts["metric"]) == {
        "image_auroc",
        "pixel_auroc",
    }
    assert (kept.contrasts["method"] != "finetune").all() and "x_knn" in set(
        kept.compared["method"]
    )
    (folder,) = (DATA / "tables").glob("tiny-suite-*")
    assert (
        "gauge free" in (folder / "methods.tex").read_text()
        and "lora" in (folder / "methods.csv").read_text()
    )
    assert contrast_methods(trained)["method"].nunique() == len(trained) - 1
