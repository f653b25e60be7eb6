"""Every function of runs takes those of a stream without boundaries, or refuses them."""

import dataclasses
import inspect

import numpy as np
import pytest

from analysis import (
    evaluate,
    forgetting_table,
    image_scores,
    plot_matrix,
    plot_task_curves,
    r_matrix,
    summary,
)
from analysis.claims import measure_claims
from analysis.detection import final_means, task_table, thresholds
from analysis.detection.plot import plot_losses
from analysis.experiments import refuse_unlike_runs
from analysis.methods import compare_methods, fit_few_methods, fit_methods
from analysis.orders import ordered_stream
from analysis.pictures import pick_images
from analysis.predecessors import measure_predecessors
from analysis.rows import chosen, first_and_last
from analysis.studies import Study
from cl_flow import Run, StreamConfig, fit
from cl_flow.runs.snapshot import Snapshot
from tests.analysis.test_any_model import ASKED, takers

BLURRED = StreamConfig(split=2, blur=0.5)
# Functions that take such runs -> what they need beside one.
TAKEN = {
    "evaluate": {},
    "explore": {"n": 1},
    "forgetting_table": {"metric": "pixel_auroc"},
    "image_scores": {},
    "measure_interference": {"n_images": 2},
    "measure_learning_curve": {},
    "measure_maps": {"image": ["elk"]},
    "per_seed": {"time_steps": False},
    "pixel_wins": {},
    "step_cost": {"repeats": 1},
}
# Tables that are not cached beside a run -> their numbers.
NUMBERS = {"forgetting_table": "change", "per_seed": "value"}
NEEDED = {"shots": 2, "image": ("ant",)}


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("mixed")
    return fit(tiny.replace(stream=BLURRED), folder=folder, progress=False)


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def loaded(self, *args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Snapshot, "model", loaded)


@pytest.mark.parametrize("name", sorted(set(ASKED) - set(TAKEN)))
def test_who_asks_for_a_task_that_was_left_refuses(mixed, name, nothing_is_loaded):
    function = takers()[name]
    needed = {
        parameter.name: {**NEEDED, "other": mixed}.get(parameter.name, 1)
        for parameter in list(inspect.signature(function).parameters.values())[1:]
        if parameter.default is parameter.empty
    }
    message = r"Expected a run of tasks with boundaries.*got blur=0.5 of .*any stream"
    with pytest.raises(ValueError, match=message):
        function(mixed, **needed)


@pytest.mark.parametrize("name", TAKEN)
def test_the_others_measure_it(mixed, name):
    function = takers()[name]
    assert function.of_any_stream
    takes_several = "runs" in inspect.signature(function).parameters
    answer = function([mixed] if takes_several else mixed, **TAKEN[name])
    if name == "explore":
        assert answer.figure().axes
    elif name in NUMBERS:
        assert np.isfinite(answer[NUMBERS[name]]).all()
    else:
        assert set(answer["stream"]) == {"split=2, blur=0.5"}


def test_who_takes_it_is_marked_and_no_one_else():
    able = {n for n in ASKED if getattr(takers()[n], "of_any_stream", False)}
    assert able == set(TAKEN) and len(set(ASKED) - able) > 20


# ---- what is measured


def test_r_holds_what_is_known_before_its_task_and_means_what_it_did(mixed):
    rows = evaluate(mixed)
    R = r_matrix(rows)
    # Something of each category comes a window early (six images, σ half a task).
    known = [4, 6, 6]
    assert [len(snapshot.categories) for snapshot in mixed] == known
    assert np.isnan(R).tolist() == [[False, False, True]] + [[False] * 3] * 2
    one = chosen(rows, metric="image_auroc", part="product")
    for t, j in [(0, 1), (1, 2), (2, 0)]:
        cell = one[(one["step"] == t) & (one["task"] == j)]
        assert set(cell["category"]) == set(mixed.tasks[j])
        assert R[t, j] == pytest.approx(cell["value"].mean())
    told = summary(rows).iloc[0]
    assert told["final_mean"] == pytest.approx(R[2].mean())
    assert told["learning_score"] == pytest.approx(np.diagonal(R).mean())
    drops = [R[2, j] - R[j, j] for j in (0, 1)]
    assert told["bwt"] == pytest.approx(np.mean(drops))
    best = [max(R[0, 0], R[1, 0]), R[1, 1]]  # from its own task on
    assert told["forgetting"] == pytest.approx(np.mean(np.array(best) - R[2, :2]))
    assert task_table(rows)["image_auroc"][:3].tolist() == pytest.approx(R[2].tolist())


def test_a_task_is_learned_when_its_own_window_is_over(mixed):
    R = r_matrix(evaluate(mixed))
    table = forgetting_table(mixed)
    assert table["learned"][:3].tolist() == pytest.approx(np.diagonal(R).tolist())
    assert table["final"][:3].tolist() == pytest.approx(R[2].tolist())
    ends = first_and_last(image_scores(mixed))
    learnt, last = (ends[ends["when"] == when] for when in ("learnt", "last"))
    assert (learnt["step"] == learnt["task"]).all() and (last["step"] == 2).all()
    assert set(learnt["category"]) == set(mixed[-1].categories)


def test_what_stands_on_tables_alone_takes_them(mixed):
    evaluated, scores = evaluate(mixed), image_scores(mixed)
    assert plot_matrix(r_matrix(evaluated)) and plot_task_curves(evaluated)
    assert len(thresholds(scores)) == 6 and len(pick_images(scores, n=3)) == 3
    assert len(final_means(scores)) == 1 and plot_losses(mixed.losses)


def test_it_stands_beside_no_run_of_another_stream(mixed, tiny, tmp_path):
    other = tiny.replace(stream=StreamConfig(split=2))
    plain = fit(other, folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="got stream 'split=2, blur=0.5', 'split=2'"):
        refuse_unlike_runs([mixed, plain])
    blurred = tiny.replace(stream=BLURRED, strategy="joint")
    joint = fit(blurred, folder=tmp_path, progress=False)
    rows = compare_methods([mixed, joint], time_steps=False)
    assert {"joint_gap", "bwt"} <= set(rows["quantity"])


def test_orders_keep_the_blur_of_a_plan(tiny):
    plan = Study("tiny", tiny.replace(stream=BLURRED), (0,))
    expected = dataclasses.replace(BLURRED, order="random", seed=3)
    assert ordered_stream(plan, "random 3") == expected
    assert plan.config("replay").stream.blur == 0.5


STUDIES = [fit_few_methods, fit_methods, measure_claims, measure_predecessors]


@pytest.mark.parametrize("function", STUDIES, ids=lambda one: one.__name__)
def test_a_study_that_needs_boundaries_refuses_before_it_trains(tiny, function):
    base = tiny.replace(stream=BLURRED, seed=77)
    with pytest.raises(ValueError, match=f"boundaries for {function.__name__}.*0.5"):
        function(Study("tiny", base, (77,)))
    assert Run.find(base) is None
