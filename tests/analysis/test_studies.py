"""A study is a preset with seeds; every run of it differs in strategy and seed only."""

import dataclasses
import json

import matplotlib.pyplot as plt
import pytest

from analysis.studies import PRESETS, Study, study
from cl_flow import fit
from cl_flow.paths import DATA


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_whole_config(preset):
    plan = study(preset, seeds=3)
    assert plan.seeds == (0, 1, 2) and plan.base.dataset == preset
    one, other = plan.config("joint", seed=2), plan.config("finetune", seed=2)
    assert one.replace(strategy="finetune") == other and (
        one.seed_model,
        one.seed_data,
    ) == (2, 2)


def test_mvtec_is_hgads_published_size():
    config = study("mvtec").base
    assert (
        config.features.backbone == "tf_efficientnet_b6.aa_in1k"
        and config.features.scales == (1, 2, 4)
    )
    assert (config.flow.n_blocks, config.flow.position_dim, config.train.epochs) == (
        12,
        256,
        200,
    )


def test_a_folder_of_ones_own_is_a_study(tiny):
    plan = study(tiny.root, seeds=[4])
    assert (
        plan.base.dataset == "folder"
        and plan.tasks[0] == ("ant", "bee", "cat")
        and plan.seeds == (4,)
    )
    assert "ant, bee, cat" in plan._repr_html_()


def test_a_study_trains_what_is_missing_and_keeps_its_figures(tiny):
    plan = Study("tiny", tiny, (0, 1))
    runs = plan.fit("finetune", "joint")
    assert [(run.strategy, run.seed) for run in runs] == [
        ("finetune", 0),
        ("finetune", 1),
        ("joint", 0),
        ("joint", 1),
    ]
    assert [run.folder for run in plan.fit("finetune")] == [
        run.folder for run in runs[:2]
    ]
    assert fit(tiny).folder == runs[0].folder
    paths = plan.save(plt.figure(), "00-empty", notebook="00", runs=runs[:1])
    assert {path.suffix for path in paths} == {".pdf", ".svg", ".png"}
    manifest = json.loads((DATA / "figures" / "tiny" / "MANIFEST.json").read_text())
    assert manifest["00-empty"]["runs"] == [runs[0].name]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: study("synthetics"),
            "Unknown preset 'synthetics'; known: synthetic, smoke, mvtec, or the path",
        ),
        (lambda: study("smoke", seeds=0), "at least one seed"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((KeyError, ValueError), match=message):
        call()


def test_trained_are_the_runs_that_are_there_and_nothing_is_trained(tiny):
    base = tiny.replace(train=dataclasses.replace(tiny.train, epochs=1))
    plan = Study("tiny", base, (0, 1))
    assert plan.trained("finetune") == []
    run = fit(plan.config("finetune", seed=1))
    assert [found.name for found in plan.trained("finetune", "joint")] == [run.name]
