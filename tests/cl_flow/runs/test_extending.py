"""Categories that arrive later are learned after a complete run, which is kept."""

import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cl_flow import STRATEGIES, Run, RunConfig, StreamConfig, fit
from tests.checkpoints import write_checkpoints
from tests.cl_flow.runs.test_fitting import digests

OPEN = sorted(name for name, one in STRATEGIES.items() if one.open_ended)
LATER = ("elk", "fox")


@pytest.fixture(scope="module")
def short(tiny) -> RunConfig:
    """Four of the categories, two at a time."""
    return tiny.replace(stream=StreamConfig(split=2, without=LATER))


@pytest.mark.parametrize("strategy", OPEN)
def test_it_ends_at_the_bytes_of_a_run_that_knew_them_from_the_start(
    short, tmp_path, strategy
):
    run = fit(short.replace(strategy=strategy), folder=tmp_path, progress=False)
    before = digests(run)
    longer = run.extend([LATER])
    assert len(longer) == 2 and not longer.is_complete and longer.folder != run.folder
    assert longer.tasks == [*run.tasks, LATER]
    whole = fit(longer.config, folder=tmp_path, progress=False)
    assert whole.folder == longer.folder and whole.is_complete and len(whole) == 3
    assert digests(run) == before and run.is_complete
    anew = fit(longer.config, folder=tmp_path / "anew", progress=False)
    assert digests(whole) == digests(anew)
    assert run.extend([LATER]).folder == whole.folder


def test_categories_may_come_to_the_folder_later(tiny, tmp_path):
    root = tmp_path / "images"
    shutil.copytree(tiny.root, root, ignore=shutil.ignore_patterns(*LATER))
    config = tiny.replace(root=str(root), stream=StreamConfig(split=2))
    run = fit(config, folder=tmp_path / "runs", progress=False)
    for name in LATER:
        shutil.copytree(Path(tiny.root) / name, root / name)
    longer = Run(run.folder).extend([("fox",), ("elk",)])
    whole = fit(longer.config, folder=tmp_path / "runs", progress=False)
    assert whole.tasks == [("ant", "bee"), ("cat", "dog"), ("fox",), ("elk",)]
    assert whole.features.categories and len(whole) == 4
    anew = fit(longer.config, folder=tmp_path / "anew", progress=False)
    assert digests(whole) == digests(anew)


def test_an_interrupted_extension_goes_on(short, tmp_path, monkeypatch):
    longer = fit(short, folder=tmp_path, progress=False).extend([("elk",), ("fox",)])
    module = importlib.import_module("cl_flow.runs.continual")
    learned, train = [], module.train

    def interrupted(*args, **kwargs):
        if learned:
            raise KeyboardInterrupt
        learned.append(args)
        return train(*args, **kwargs)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(longer.config, folder=tmp_path, progress=False)
    assert len(longer) == 3 and not longer.is_complete
    monkeypatch.setattr(module, "train", train)
    whole = fit(longer.config, folder=tmp_path, progress=False)
    anew = fit(longer.config, folder=tmp_path / "anew", progress=False)
    assert digests(whole) == digests(anew)


def test_nothing_is_left_of_an_extension_that_fails(short, tmp_path, monkeypatch):
    run = fit(short, folder=tmp_path, progress=False)

    def full(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("cl_flow.runs.extending.write_json", full)
    with pytest.raises(OSError, match="disk full"):
        run.extend([LATER])
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [run.name]


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - set(OPEN)))
def test_who_needs_to_know_the_end_is_told_apart(short, tmp_path, strategy):
    run = fit(short.replace(strategy=strategy), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=f"how many follow; got '{strategy}'"):
        run.extend([LATER])


def test_a_stream_without_boundaries_has_no_end_to_go_on_from(short, tmp_path):
    stream = dataclasses.replace(short.stream, blur=0.5)
    run = fit(short.replace(stream=stream), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="tasks with boundaries, .*; got blur=0.5"):
        run.extend([LATER])
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [run.name]


@pytest.mark.parametrize(("tasks", "kind", "message"), [
    ([], ValueError, "one further task or more"),
    ([()], ValueError, "one further task or more"),
    ([("ant",)], ValueError, "not learned yet, each once"),
    ([("elk",), ("elk",)], ValueError, "not learned yet, each once"),
    ([("yak",)], KeyError, "Unknown category 'yak'"),
])  # fmt: skip
def test_what_is_no_further_task_is_refused(short, tmp_path, tasks, kind, message):
    run = fit(short, folder=tmp_path, progress=False)
    with pytest.raises(kind, match=message):
        run.extend(tasks)


def test_what_is_not_complete_is_not_extended(short, tmp_path):
    begun = Run.at(short, folder=tmp_path)
    with pytest.raises(ValueError, match=r"complete run .*fit\(run.config\)"):
        begun.extend([LATER])


def test_other_images_under_the_same_names_are_refused(tiny, tmp_path):
    root = tmp_path / "images"
    shutil.copytree(tiny.root, root)
    stream = StreamConfig(split=2, without=LATER)
    config = tiny.replace(root=str(root), stream=stream)
    run = fit(config, folder=tmp_path / "runs", progress=False)
    Image.new("RGB", (32, 32)).save(root / "ant" / "train" / "good" / "000.png")
    with pytest.raises(ValueError, match="Expected the training images .* got others"):
        run.extend([LATER])


def test_features_that_were_whitened_otherwise_are_refused(tiny, tmp_path):
    stream = StreamConfig(split=2, without=("ant", "bee"))
    run = fit(tiny.replace(stream=stream), folder=tmp_path, progress=False)
    with pytest.raises(
        ValueError, match=r"whitened on the first task, \('cat', 'dog'\)"
    ):
        run.extend([("ant", "bee")])
    plain = tiny.replace(stream=stream, whiten=None)
    longer = fit(plain, folder=tmp_path, progress=False).extend([("ant", "bee")])
    assert longer.tasks[-1] == ("ant", "bee")


def test_an_imported_run_is_extended_where_its_schedule_is_known(short, tmp_path):
    flow = dataclasses.replace(short.flow, hidden=None)
    config = short.replace(whiten=None, flow=flow)
    theirs = fit(config, folder=tmp_path / "theirs", progress=False)
    logs = write_checkpoints(theirs, tmp_path, epochs=(1, 1))
    given = {"dataset": "folder", "root": config.root, "features": config.features}
    given |= {"tasks": theirs.tasks, "alpha": 1.9, "rule": "published"}
    runs = tmp_path / "runs"
    for train in (config.train, None):
        run = Run.from_hgad(logs, **given, train=train, runs=runs)
        longer = run.extend([LATER])
        assert longer.source == run.source and len(longer) == 2
        if train is None:
            with pytest.raises(ValueError, match="how the imported tasks were trained"):
                fit(longer.config, folder=runs, progress=False)
        else:
            assert len(fit(longer.config, folder=runs, progress=False)) == 3


def test_a_longer_run_says_what_it_goes_on_from(short, tmp_path):
    run = fit(short, folder=tmp_path, progress=False)
    longer = run.extend([LATER])
    assert json.loads((longer.folder / "run.json").read_text())["extends"] == run.name
