"""Recovery of a tiny run: what is frozen keeps its bits, and each control knows what it
should and nothing more.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.detection.measure import evaluate
from analysis.recovery.conclude import recovery_table
from analysis.recovery.measure import (
    PROBES,
    few_shots,
    measure_recovery,
    never_learned_config,
    retrain_,
    step_meanings,
    step_rates,
)
from analysis.recovery.say import summarise_recovery
from analysis.scoring import Scoring
from cl_flow import Run, fit

STEPS = (0, 1, 2, 4)


@pytest.fixture(scope="module")
def recovered(run) -> pd.DataFrame:
    return measure_recovery(
        run,
        shots=(2,),
        steps=STEPS,
        scoring=Scoring(metric=("image_auroc", "pixel_auroc"), part="product", size=32),
    )


def test_every_probe_is_tested_along_the_way(recovered):
    keys = ["step", "probe", "update", "shots", "n_steps", "category", "metric"]
    assert not recovered.duplicated(keys).any() and set(recovered["step"]) == {1}
    tried = recovered[recovered["probe"] != "learned"]
    assert set(tried["probe"]) == set(PROBES)
    assert (
        tried.groupby(["probe", "category", "metric"])["n_steps"]
        .apply(tuple)
        .map(lambda n: n == STEPS)
        .all()
    )
    tasks = tried.groupby("probe")["task"].agg(set).to_dict()
    both, first = {0, 1}, {0}
    assert tasks == {
        "forgotten": both,
        "sham": both,
        "never_learned": first,
        "untrained": first,
        "held_out": first,
    }


def test_curves_begin_and_levels_lie_where_evaluate_says(run, recovered):
    evaluated = evaluate(run, scoring=Scoring(part="product", size=32))
    starts = recovered[
        (recovered["probe"] == "forgotten") & (recovered["n_steps"] == 0)
    ]
    for rows, step in ((starts, 1), (recovered[recovered["probe"] == "learned"], 0)):
        both = rows.merge(
            evaluated[evaluated["step"] == step], on=["category", "metric"]
        )
        assert len(both) == len(rows) > 0 and np.array_equal(
            both["value_x"], both["value_y"]
        )


@pytest.mark.parametrize(
    ("update", "moving"),
    [("both", {"flow", "mixture"}), ("centers", {"mixture"}), ("flow", {"flow"})],
)
def test_what_is_not_updated_keeps_its_bits(run, update, moving):
    model, images = run[1].model(), few_shots(run.features, run.tasks[0], 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    retrain_(model, images, run.config.train, update=update, n_steps=4)
    moved = {
        name.split(".")[2]
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == moving
    if update != "both":
        frozen = [name for name in before if name.split(".")[2] not in moving]
        assert frozen and all(
            torch.equal(model.state_dict()[name], before[name]) for name in frozen
        )


def test_of_the_mixture_the_means_may_learn_alone(run):
    model, images = run[1].model(), few_shots(run.features, run.tasks[0], 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    retrain_(model, images, run.config.train, update="means", n_steps=4)
    moved = {
        name.split(".")[3]
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {"_mu"}


def test_the_never_learned_run_sees_the_same_features_and_not_the_first_task(run):
    control = fit(never_learned_config(run), folder=run.folder.parent, progress=False)
    assert (
        control.tasks == run.tasks[1:]
        and control.features.folder == run.features.folder
    )
    assert not set(run.tasks[0]) & set(control.losses.columns) and set(
        control[-1].categories
    ) == set(run.tasks[1])
    (trial,) = PROBES["never_learned"](run, 1)
    assert trial.model.n_classes == 6 and trial.tested == run.tasks[0]
    kept = control[0].model().state_dict()
    for name, tensor in trial.model.state_dict().items():
        assert name not in kept or torch.equal(tensor, kept[name])


def test_an_untrained_model_has_every_class_and_no_training(run):
    (trial,) = PROBES["untrained"](run, 1)
    fresh = run[1].model().fresh()
    assert trial.model.categories == run[1].categories
    pairs = zip(
        trial.model.levels[0].flow.parameters(), fresh.levels[0].flow.parameters()
    )
    assert all(torch.equal(*pair) for pair in pairs)


def test_a_category_held_out_is_never_trained_on(run):
    trials = list(PROBES["held_out"](run, 1))
    assert [trial.tested for trial in trials] == [("ant",), ("bee",), ("cat",)]
    assert all(
        set(trial.taught) | set(trial.tested) == set(run.tasks[0]) for trial in trials
    )
    assert not any(set(trial.taught) & set(trial.tested) for trial in trials)


def test_the_sham_trains_on_the_newest_task(run):
    (trial,) = PROBES["sham"](run, 1)
    assert trial.taught == run.tasks[1] and set(trial.tested) == set(
        run.tasks[0] + run.tasks[1]
    )


def test_fewer_shots_are_among_more(run):
    few, more = (few_shots(run.features, run.tasks[0], n) for n in (2, 4))
    assert len(few) == 6 and len(more) == 12 and set(few.rows) < set(more.rows)
    assert (more.samples["split"] == "train").all() and not more.samples["label"].any()
    assert set(few_shots(run.features, run.tasks[0], 2, seed=1).rows) != set(few.rows)


def test_the_slides_form_and_the_sentence(recovered):
    frame = recovery_table(recovered)
    assert list(frame.columns) == ["stage", "category", "image_auroc", "pixel_auroc"]
    assert (
        list(dict.fromkeys(frame["stage"]))
        == ["after_task_1", "after_task_2", "few_shot"]
        and len(frame) == 9
    )
    sentence = summarise_recovery(recovered)
    for words in (
        "After task 2, 4 steps at a rate of 0.001 on 2 normal images",
        "ahead of a model",
        "kept out",
        "instead",
        "in return",
    ):
        assert words in sentence


def test_the_same_options_give_the_same_scores(run):
    options = {
        "probe": ("forgotten",),
        "update": ("centers",),
        "shots": (1,),
        "steps": (0, 3),
    }
    first, again = (
        measure_recovery(
            run,
            scoring=Scoring(metric="image_auroc", part="product", size=32, sigma=sigma),
            **options,
        )
        for sigma in (4.0, 4.0 + 1e-12)
    )
    assert all(np.array_equal(*pair) for pair in zip(first["scores"], again["scores"]))


def test_wrong_input_is_named(run, tiny, tmp_path):
    with pytest.raises(KeyError, match="Unknown probe 'gone'; known: forgotten"):
        measure_recovery(run, probe=("gone",))
    with pytest.raises(
        KeyError, match="Unknown update 'all'; known: both, centers, means, flow"
    ):
        measure_recovery(run, update=("all",), shots=(1,))
    with pytest.raises(
        ValueError, match="Expected 1 to 6 shots of ant, its training images; got 7"
    ):
        measure_recovery(run, shots=(7,))
    with pytest.raises(
        ValueError, match="keeps its centers, and steps after the first; got .* \\[0\\]"
    ):
        measure_recovery(run, after=(0,))
    with pytest.raises(IndexError, match="a step between -2 and 1"):
        measure_recovery(run, after=(4,))
    single = fit(tiny.replace(strategy="single"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="keeps its centers"):
        measure_recovery(single)


def test_each_rate_is_a_curve_of_its_own(run):
    """Beside another rate it is what it is alone, and a rate of 0 moves nothing."""
    options = {"probe": ("forgotten",), "shots": (1,), "steps": (0, 3)}
    options["scoring"] = Scoring(metric="image_auroc", part="product", size=32)
    rates = step_rates(run)
    table = measure_recovery(run, lr=("peak", "last", rates["peak"]), **options)
    assert set(table["lr"]) == {0.0, rates["peak"], rates["last"]}
    still = measure_recovery(run, lr=(0.0,), **options).query("probe == 'forgotten'")
    assert (still.groupby("category")["value"].nunique() == 1).all()
    alone = measure_recovery(run, lr=("last",), **options)
    same = table[table["lr"] != rates["peak"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone)
    keys = ["probe", "lr", "n_steps", "category"]
    assert not table.duplicated(keys).any()
    with pytest.raises(KeyError, match="Unknown rate 'first'; known: peak, mean, last"):
        measure_recovery(run, lr="first", **options)


def test_rates_are_those_of_the_schedule(run):
    other = Run(run.folder)
    train = replace(run.config.train, epochs=10, warmup=0.0)
    other.config = run.config.replace(train=train)
    rates = step_rates(other)
    assert rates["last"] < rates["mean"] < rates["peak"] == train.lr
    other.config = run.config.replace(train=replace(train, staircase=1))
    assert set(step_rates(other).values()) == {train.lr}
    other.config = run.config.replace(train=replace(train, staircase=2))
    falls = train.lr * (1 + train.final_lr) / 2  # the second stair of two
    assert step_rates(other)["last"] == pytest.approx(falls)


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        ({}, {"batch": 1, "pass": 2, "meta-epoch": 16}),
        ({"epochs": 10, "staircase": 5}, {"batch": 1, "pass": 2, "meta-epoch": 4}),
        ({"batch_images": 90}, {"batch": 1, "pass": 1, "meta-epoch": 8}),
    ],
)
def test_one_step_may_mean_a_batch_a_pass_or_a_meta_epoch(run, train, steps):
    """Five images of three categories in batches of 6: two of them a pass."""
    other = Run(run.folder)
    other.config = run.config.replace(train=replace(run.config.train, **train))
    assert step_meanings(other, shots=5) == steps
