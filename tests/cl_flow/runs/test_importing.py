"""A run made of checkpoint files is a run as any other, and says where it is from."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis import diagnose, evaluate, styled
from analysis.detection import forgetting_table, r_matrix, task_table
from analysis.judgement.measure import control_seconds
from analysis.rows import refuse_unlike
from cl_flow import Run, RunConfig, fit
from cl_flow.model.losses import LossConfig
from cl_flow.runs.hgad import CLAMP_RULES
from cl_flow.runs.library import describe_runs
from cl_flow.runs.snapshot import Snapshot
from tests.checkpoints import write_checkpoints
from tests.cl_flow.runs.test_fitting import digests

TASKS = [("ant", "bee", "cat"), ("dog", "elk", "fox")]
SCHEDULE = {
    "meta_epochs": 5,
    "sub_epochs": 2,
    "batch_size": 6,
    "lr": 1e-3,
    "lr_decay_rate": 0.1,
    "lr_warm": True,
    "lr_warm_epochs": 2,
    "lr_cosine": True,
    "lambda1": 1.0,
    "lambda2": 1.0,
    "label_smoothing": 0.02,
    "clamp_alpha": 1.9,
    "seed": 0,
}


@pytest.fixture(scope="module")
def config(tiny) -> RunConfig:
    """As the continuation trains: subnets of its width, features as they are.

    And for long enough that log p tells one log-scale from the other.
    """
    losses = LossConfig(mutual_information=1.0)
    train = dataclasses.replace(tiny.train, epochs=60, lr=1e-2, losses=losses)
    flow = dataclasses.replace(tiny.flow, hidden=None)
    return tiny.replace(whiten=None, flow=flow, train=train)


@pytest.fixture(scope="module")
def theirs(config, tmp_path_factory) -> Run:
    return fit(config, folder=tmp_path_factory.mktemp("theirs"), progress=False)


@pytest.fixture(scope="module")
def logs(theirs, tmp_path_factory) -> Path:
    """Files of two tasks: a best pass, and one that is the last."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "config.json").write_text(json.dumps(SCHEDULE))
    return write_checkpoints(theirs, folder, epochs=(3, 9))


def imported(logs: Path, theirs: Run, runs: Path, **changes: Any) -> Run:
    options = {"dataset": "folder", "root": theirs.config.root, "tasks": TASKS}
    features = theirs.config.features
    return Run.from_hgad(
        logs, **{**options, "features": features, **changes}, runs=runs
    )


@pytest.fixture
def ours(logs, theirs, tmp_path) -> Run:
    return imported(logs, theirs, tmp_path / "runs")


@pytest.mark.parametrize("rule", CLAMP_RULES)
def test_it_scores_as_what_it_was_made_of(theirs, tmp_path, rule):
    logs = write_checkpoints(theirs, tmp_path, epochs=(0, 0), rule=rule)
    run = imported(logs, theirs, tmp_path / "runs", alpha=theirs.config.flow.clamp)
    assert run.facts["imported"]["rule"] == rule, "log p tells the log-scale"
    assert set(run.facts["imported"]["log_p"]) == set(CLAMP_RULES)
    assert f"log-scale {CLAMP_RULES[rule]} by its log p" in run.source
    x = run.features.where(split="test").read()
    for step in range(2):
        pairs = zip(run[step].model().levels, theirs[step].model().levels, x)
        for a, b, patches in pairs:
            patches = patches.float().flatten(0, 1)
            torch.testing.assert_close(a(patches), b(patches), rtol=1e-4, atol=1e-4)
            for name in ("mu", "delta", "phi", "psi"):
                assert torch.equal(getattr(a.mixture, name), getattr(b.mixture, name))
    tables = [evaluate(one)["value"] for one in (run, theirs)]
    assert tables[0].to_numpy() == pytest.approx(tables[1].to_numpy(), abs=1e-3)


def test_it_is_a_whole_run(ours, theirs):
    assert ours.is_complete and len(ours) == 2 and ours.tasks == TASKS
    assert [snapshot.categories for snapshot in ours] == [TASKS[0], TASKS[0] + TASKS[1]]
    assert ours.config.flow == theirs.config.flow
    assert ours.config.train.epochs == 10 and ours.config.train.lr == 1e-3
    assert ours.losses.empty and ours.facts["steps"][0]["images"] == 18
    assert describe_runs(ours.folder.parent)["seconds"].tolist() == [0.0]
    assert Run(ours.folder).config == ours.config
    assert fit(ours.config, folder=ours.folder.parent).folder == ours.folder


def test_the_same_files_are_the_same_run(ours, logs, theirs):
    runs = ours.folder.parent
    before = (ours.folder / "run.json").stat().st_mtime_ns
    again = imported(logs, theirs, runs)
    assert again.folder == ours.folder
    assert (ours.folder / "run.json").stat().st_mtime_ns == before
    other = imported(logs, theirs, runs, rule="vendored")
    assert other.folder != ours.folder


def test_it_says_where_it_is_from(ours, theirs):
    best = "best pass on test data by image AUROC, which are the last weights of task 2"
    assert best in ours.source and ours.source in repr(ours)
    assert not theirs.source and "imported" not in repr(theirs)
    files = ours.facts["imported"]["files"]
    assert [file["name"] for file in files] == [
        f"HGAD_tiny_task_{t}_img.pt" for t in (0, 1)
    ]
    assert [(file["epoch"], file["last"]) for file in files] == [(3, False), (9, True)]
    assert all(len(file["digest"]) == 32 for file in files)


@pytest.mark.parametrize(("epochs", "options", "said"), [
    ((9, 9), {}, ": last weights; "),
    ((2, 3), {"best_by": "pix"}, ": best pass on test data by pixel AUROC; "),
])  # fmt: skip
def test_the_last_weights_are_told_from_the_best(
    theirs, tmp_path, epochs, options, said
):
    (tmp_path / "config.json").write_text(json.dumps(SCHEDULE))
    logs = write_checkpoints(theirs, tmp_path, epochs=epochs)
    run = imported(logs, theirs, tmp_path / "runs", rule="published", **options)
    assert said in run.source


def test_which_pass_is_the_last_may_be_unknown(theirs, tmp_path):
    logs = write_checkpoints(theirs, tmp_path, epochs=(2, 3))
    run = imported(logs, theirs, tmp_path / "runs", alpha=1.9, rule="published")
    assert "or last weights, which its files do not tell" in run.source


def test_every_table_says_so_above(ours, theirs):
    evaluated = evaluate(ours)
    derived = task_table(evaluated[evaluated["given"] == "category"])
    for table in (evaluated, derived, forgetting_table(ours)):
        assert styled(table).said.endswith(ours.source)
    both = evaluate([theirs, ours])
    assert ours.source in styled(both).said
    assert "imported" not in styled(evaluate(theirs)).said


def test_it_is_averaged_with_no_run_that_was_trained_here(ours, theirs):
    with pytest.raises(ValueError, match="got (setup|stream)"):
        refuse_unlike(evaluate([ours, theirs]))
    assert r_matrix(evaluate(ours)).shape == (2, 2)


def test_passes_that_were_chosen_otherwise_are_not_averaged(ours, logs, theirs):
    options = {"rule": "published", "best_by": "pix"}
    other = imported(logs, theirs, ours.folder.parent, **options)
    same = imported(logs, theirs, ours.folder.parent, seed=3)
    assert same.folder != ours.folder and same.seed == 3
    assert same.kind == ours.kind and other.kind["setup"] != ours.kind["setup"]


def test_it_is_diagnosed(ours):
    assert control_seconds(ours) == float("inf"), "how long theirs took is unknown"
    report = diagnose(ours)
    assert report.verdict and ours.source in report._repr_html_()
    assert "untrained" in set(report.tables["recovery"]["probe"])
    several = diagnose([ours], train=False)
    assert ours.source in styled(several).said


# ---- what is asked for, and what is refused


@pytest.mark.parametrize(("changes", "asked"), [
    ({"tasks": None}, "tasks=.*the categories of each expansion in order"),
    ({"features": None}, "features=FeatureConfig.*tag of its weights"),
    ({"tasks": None, "features": None}, "tasks=.*; features=.*config.json"),
])  # fmt: skip
def test_what_the_files_lack_is_asked_for(logs, theirs, tmp_path, changes, asked):
    with pytest.raises(ValueError, match=f"Expected {asked}"):
        imported(logs, theirs, tmp_path / "runs", **changes)


def test_alpha_is_asked_for_where_no_config_json_tells_it(theirs, tmp_path):
    logs = write_checkpoints(theirs, tmp_path, epochs=(0, 0))
    with pytest.raises(ValueError, match="alpha=.*there is no config.json"):
        imported(logs, theirs, tmp_path / "runs")


@pytest.mark.parametrize(("changes", "kind", "message"), [
    ({"tasks": TASKS[:1]}, ValueError, "name the 6 categories of .*first 2 tasks; got .3"),
    ({"tasks": [("ant", "bee"), ("cat", "dog")]}, ValueError, "name the 3 categories"),
    ({"tasks": [("ant", "bee", "yak"), TASKS[1]]}, KeyError, "Unknown category 'yak'"),
    ({"rule": "other"}, KeyError, "Unknown clamp rule 'other'; known: auto"),
    ({"best_by": "last"}, KeyError, "Unknown file 'last'; known: img, pix"),
    ({"dataset": "none"}, KeyError, "Unknown dataset"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(logs, theirs, tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        imported(logs, theirs, tmp_path / "runs", **changes)
    assert not list((tmp_path / "runs").glob("*"))


def test_other_features_are_refused(logs, theirs, tmp_path):
    features = dataclasses.replace(theirs.config.features, out_indices=(0, 1))
    with pytest.raises(ValueError, match="Expected features of .* channels"):
        imported(logs, theirs, tmp_path / "runs", features=features)


def test_files_of_two_trainings_are_refused(theirs, config, tmp_path):
    flow = dataclasses.replace(config.flow, n_blocks=3)
    other = fit(config.replace(flow=flow), folder=tmp_path / "other", progress=False)
    logs = write_checkpoints(theirs, tmp_path, epochs=(0, 0))
    (tmp_path / "b").mkdir()
    write_checkpoints(other, tmp_path / "b", epochs=(0, 0))
    name = "task_1/HGAD_tiny_task_1_img.pt"
    shutil.copy(tmp_path / "b" / "logs" / name, logs / name)
    with pytest.raises(ValueError, match="Expected files of one training"):
        imported(logs, theirs, tmp_path / "runs", alpha=1.9)


def test_where_log_p_does_not_tell_the_log_scale_one_has_to_say_it(
    config, tmp_path, theirs
):
    train = dataclasses.replace(config.train, epochs=0)
    new = fit(config.replace(train=train), folder=tmp_path / "new", progress=False)
    model = new[0].model()
    for level in model.levels:
        for block in level.flow:
            block.outer.weight.data.zero_()
            block.outer.bias.data.zero_()
    for step in range(2):
        Snapshot.write(new.folder / f"step-{step:02d}.safetensors", model, {})
    logs = write_checkpoints(new, tmp_path, epochs=(0,))
    with pytest.raises(
        ValueError, match="tells which log-scale .*Say rule='published'"
    ):
        imported(logs, theirs, tmp_path / "runs", alpha=1.9)
    run = imported(logs, theirs, tmp_path / "runs", alpha=1.9, rule="vendored")
    assert len(run) == 1


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_is_left_of_an_import_that_fails(
    logs, theirs, tmp_path, monkeypatch, error
):
    write = Snapshot.write

    def failing(path: Path, *values: Any) -> None:
        if path.name == "step-01.safetensors":
            raise error
        write(path, *values)

    monkeypatch.setattr(Snapshot, "write", failing)
    with pytest.raises(type(error)):
        imported(logs, theirs, tmp_path / "runs")
    assert not list((tmp_path / "runs").glob("*"))


def test_what_a_killed_import_left_is_no_run_and_in_nobodys_way(ours, logs, theirs):
    (ours.folder / "run.json").unlink()
    (ours.folder / "step-07.safetensors").touch()
    runs = ours.folder.parent
    assert not len(describe_runs(runs))
    again = imported(logs, theirs, runs)
    assert again.folder == ours.folder and len(again) == 2
    assert not (again.folder / "step-07.safetensors").exists()


# ---- learning on


@pytest.fixture
def begun(theirs, tmp_path) -> Path:
    """Files of the first task alone."""
    (tmp_path / "config.json").write_text(json.dumps(SCHEDULE))
    return write_checkpoints(theirs, tmp_path, epochs=(9,))


def test_a_task_without_a_file_is_learned_here(begun, theirs, tmp_path):
    runs = tmp_path / "runs"
    run = imported(begun, theirs, runs, rule="published")
    assert not run.is_complete and len(run) == 1
    first = digests(run)["step-00.safetensors"]
    whole = fit(run.config, folder=runs, progress=False)
    assert whole.folder == run.folder and whole.is_complete and len(whole) == 2
    assert digests(whole)["step-00.safetensors"] == first
    assert set(whole.losses["step"]) == {1} and whole.source == run.source
    assert whole[1].categories == TASKS[0] + TASKS[1]


def test_without_a_schedule_no_task_is_learned(begun, theirs, tmp_path):
    (tmp_path / "config.json").unlink()
    run = imported(begun, theirs, tmp_path / "runs", alpha=1.9, rule="published")
    with pytest.raises(ValueError, match="how the imported tasks were trained"):
        fit(run.config, folder=tmp_path / "runs", progress=False)
    train = theirs.config.train
    options = {"alpha": 1.9, "rule": "published", "train": train}
    other = imported(begun, theirs, tmp_path / "runs", **options)
    assert other.config.train == train
    assert fit(other.config, folder=tmp_path / "runs", progress=False).is_complete


def test_what_was_imported_is_not_trained_again(ours, theirs):
    runs = ours.folder.parent
    with pytest.raises(ValueError, match="that were imported, whole.*Run.from_hgad"):
        fit(ours.config, folder=runs, overwrite=True, progress=False)
    assert len(Run(ours.folder)) == 2
    (ours.folder / "step-00.safetensors").unlink()
    with pytest.raises(ValueError, match="imported, whole; got 0 of 2"):
        fit(ours.config, folder=runs, progress=False)
    shutil.rmtree(ours.folder)
    with pytest.raises(ValueError, match="imported, whole; got 0 of them"):
        fit(ours.config, folder=runs, progress=False)
    assert not list(runs.glob("*"))


def test_another_config_made_of_it_is_one_to_be_trained_here(ours):
    config = ours.config
    assert config.origin and config.replace(root=config.root).origin == config.origin
    assert config.replace(strategy="joint").origin is None
    assert config.replace(seed=3).origin is None
