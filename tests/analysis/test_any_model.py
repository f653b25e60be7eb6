"""Every function of runs takes those of any model, or refuses them in one sentence."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import pytest

import analysis
from analysis import (
    diagnose,
    evaluate,
    forgetting_table,
    image_scores,
    plot_matrix,
    r_matrix,
    summary,
)
from analysis.experiments import expect_suited
from analysis.methods import baselines, compare_methods
from analysis.pictures import measure_maps, plot_maps, read_pictures
from analysis.scoring import Scoring
from cl_flow import Run, fit

# They ask a run for its images, its files or its config, whatever it trained.
OF_ITS_FOLDER = {
    "refuse_unlike_runs", "scored", "task_of", "read_pictures", "method_name", "kept_bytes",
    "learnt_before",
}  # fmt: skip
# They are handed runs that `measure_recovery` and `measure_path` have looked at.
BENEATH = {
    "forgotten", "never_learned", "untrained", "sham", "held_out", "never_learned_config",
    "refuse_other_start", "contrast_methods", "compare_methods",
}  # fmt: skip


def takers() -> dict[str, Callable]:
    """Functions of analysis whose first argument is a run, or runs."""
    found = {}
    for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
        loaded = importlib.import_module(module.name)
        for key, value in vars(loaded).items():
            if inspect.isfunction(value) and value.__module__ == module.name:
                if not key.startswith("_") and _takes_runs(value):
                    found[key] = value
    return found


def _takes_runs(function: Callable) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None:
        return False
    return first.annotation in (Run, Run | Iterable[Run], Iterable[Run]) or (
        Run in typing.get_args(first.annotation)
    )


ASKED = sorted(set(takers()) - OF_ITS_FOLDER - BENEATH)


@pytest.fixture(scope="module", params=["uniad", "iuf"])
def other(request, tiny, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("others")
    return fit(tiny.replace(model=request.param), folder=folder, progress=False)


@pytest.mark.parametrize("name", ASKED)
def test_a_function_of_runs_takes_any_model_or_refuses_it(other, name):
    function = takers()[name]
    if getattr(function, "of_any_model", False):
        return
    needed = {
        parameter.name: {"shots": 2, "image": ("ant",), "other": other}.get(
            parameter.name, 1
        )
        for parameter in list(inspect.signature(function).parameters.values())[1:]
        if parameter.default is parameter.empty
    }
    model = other.config.model
    with pytest.raises(ValueError, match=f"Expected a run of a flow.*got {model} of"):
        function(other, **needed)


def test_there_are_functions_to_hold_to_it():
    able = {n for n in ASKED if getattr(takers()[n], "of_any_model", False)}
    assert {"evaluate", "image_scores", "measure_maps", "forgetting_table"} <= able
    assert len(set(ASKED) - able) > 20
    assert OF_ITS_FOLDER | BENEATH <= set(takers())


def test_it_is_evaluated_by_the_name_of_its_score(other):
    rows = evaluate(other)
    assert set(rows["part"]) == {"product"} and rows["value"].between(0, 1).all()
    assert set(rows["metric"]) == {"image_auroc", "pixel_auroc"}
    assert r_matrix(rows).shape == (2, 2) and len(summary(rows))
    assert plot_matrix(r_matrix(rows)).images or plt.gca().collections
    table = forgetting_table(other)
    assert np.isfinite(table["change"]).all() and len(table) == 3
    assert len(forgetting_table(other, metric="pixel_auroc")) == 3


@pytest.mark.parametrize("part", ["logp", "entropy", ("logp", "product")])
def test_a_part_that_it_does_not_have_is_refused(other, part):
    with pytest.raises(ValueError, match="Expected part='product'.*got '(logp|entr)"):
        evaluate(other, scoring=Scoring(part=part))


def test_its_maps_are_drawn(other):
    names = ["ant"]
    maps = measure_maps(other, image=names)
    assert np.isfinite(np.stack(maps["map"])).all()
    assert plot_maps(maps, read_pictures(other, names)).axes


def test_classes_are_told_apart_by_who_can(other):
    scoring = Scoring(metric="image_auroc", given=None)
    if other.config.model == "uniad":
        with pytest.raises(ValueError, match="nothing that tells classes apart"):
            image_scores(other, scoring=scoring)
        return
    rows = image_scores(other, scoring=scoring)
    assert set(rows["routed"]) <= set(other[1].categories)


def test_methods_and_baselines_are_compared_for_any_model(other):
    rows = compare_methods([other])
    assert set(rows["method"]) == {f"{other.config.model}: finetune"}
    assert {"final_mean", "forgetting", "step_ratio"} <= set(rows["quantity"])
    assert len(baselines(other, detector=("x_gaussian",)))


def test_runs_of_two_models_are_not_averaged(other, run):
    with pytest.raises(
        ValueError, match="differ in strategy and seed alone; got setup"
    ):
        forgetting_table([other, run])
    both = evaluate([other, run])
    with pytest.raises(ValueError, match="got setup"):
        summary(both)


def test_a_diagnosis_says_whom_it_is_for(other, run):
    with pytest.raises(ValueError, match="run of a flow for diagnose"):
        diagnose(other)
    expect_suited(diagnose, run)
