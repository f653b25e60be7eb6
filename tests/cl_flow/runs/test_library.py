"""Runs are found by what was trained: old ones, renamed, moved, or alike in name."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from cl_flow import (
    STRATEGIES,
    FeatureConfig,
    FlowConfig,
    Run,
    RunConfig,
    StreamConfig,
    TrainConfig,
    fit,
)
from cl_flow.runs import library
from cl_flow.runs.schema import SCHEMA

OLD = Path(__file__).resolve().parents[2] / "data" / "run-0.1"


def old_config(root: Path) -> RunConfig:
    """What `tests/data/run-0.1` was trained by, as one would write it today."""
    return RunConfig(
        dataset="folder",
        root=str(root),
        strategy="replay",
        features=FeatureConfig(
            "test_resnet",
            weights="random",
            image_size=32,
            scales=(1,),
            out_indices=(1,),
        ),
        whiten=6,
        stream=StreamConfig(split=(2, 1)),
        flow=FlowConfig(n_blocks=2, n_components=2, position_dim=4, hidden=8),
        train=TrainConfig(epochs=2, batch_images=4, batch_patches=8, lr=1e-3),
    )


@pytest.fixture
def old(tmp_path) -> Path:
    """A folder with a run of version 0.1, whose images lie where its config says."""
    shutil.copytree(OLD, tmp_path / "old")
    path = tmp_path / "old" / "images-replay-s0-c64b74" / "run.json"
    facts = json.loads(path.read_text())
    facts["config"]["root"] = str(tmp_path / "old" / "images")
    path.write_text(json.dumps(facts))
    return tmp_path / "old"


def test_a_run_of_before_is_returned_not_trained_again(old):
    run = fit(old_config(old / "images"), folder=old, progress=False)
    assert run.folder.name == "images-replay-s0-c64b74" and run.is_complete
    assert run.facts["schema"] == SCHEMA
    assert [len(run), run[-1].categories] == [2, ("ant", "bee", "cat")]
    assert len(list(old.glob("*/run.json"))) == 1


def test_a_run_of_before_that_was_cut_is_continued(old):
    place = old / "images-replay-s0-c64b74"
    (place / "complete").unlink()
    (place / "step-01.safetensors").unlink()
    run = fit(old_config(old / "images"), folder=old, progress=False)
    assert run.folder == place and run.is_complete and len(run) == 2
    assert json.loads((place / "run.json").read_text())["schema"] == SCHEMA


def test_another_config_is_not_taken_for_it(old):
    config = old_config(old / "images").replace(options={"ratio": 2})
    assert Run.find(config, folder=old) is None


def test_two_configs_of_one_name_are_two_runs(tiny, tmp_path, monkeypatch):
    same = "tiny-finetune-s0-00000000"
    monkeypatch.setattr(RunConfig, "named", lambda config, identity: same)
    one = Run.at(tiny, folder=tmp_path)
    other = Run.at(tiny.replace(whiten=8), folder=tmp_path)
    assert one.folder != other.folder
    assert Run.at(tiny, folder=tmp_path).folder == one.folder
    assert Run.at(tiny.replace(whiten=8), folder=tmp_path).folder == other.folder


def test_a_run_that_several_begin_at_once_is_one(tiny, tmp_path, monkeypatch):
    def slowly(*args):
        time.sleep(0.2)
        return library.free_place(*args)

    monkeypatch.setattr("cl_flow.runs.beginning.free_place", slowly)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: Run.at(tiny, folder=tmp_path), range(3)))
    assert len({run.folder for run in runs}) == 1


def test_a_folder_may_be_renamed(tiny, tmp_path):
    run = Run.at(tiny, folder=tmp_path)
    run.folder.rename(tmp_path / "mine-s0-of-may")
    found = Run.find(tiny, folder=tmp_path)
    assert found is not None and found.name == "mine-s0-of-may"


def test_photographs_may_lie_elsewhere(tiny, tmp_path):
    run = Run.at(tiny, folder=tmp_path)
    shutil.copytree(tiny.root, tmp_path / "elsewhere")
    moved = tiny.replace(root=str(tmp_path / "elsewhere"))
    found = Run.find(moved, folder=tmp_path)
    assert found is not None and found.folder == run.folder
    assert found.config.root == moved.root


def test_changed_photographs_are_another_run_and_said_to_be(tiny, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(tiny.root, copy)
    config = tiny.replace(root=str(copy))
    before = Run.at(config, folder=tmp_path / "runs")
    Image.new("RGB", (32, 32)).save(copy / "ant" / "train" / "good" / "000.png")
    with pytest.warns(UserWarning, match="have changed since tiny-finetune"):
        after = Run.at(config, folder=tmp_path / "runs")
    assert after.folder != before.folder


def test_a_changed_default_of_a_strategy_is_another_run(tiny, tmp_path, monkeypatch):
    class Before(STRATEGIES["finetune"]):
        def __init__(self, *, kept: int = 1) -> None:
            super().__init__()

    class After(STRATEGIES["finetune"]):
        def __init__(self, *, kept: int = 2) -> None:
            super().__init__()

    config = tiny.replace(strategy="changing")
    monkeypatch.setitem(STRATEGIES, "changing", Before)
    before = Run.at(config, folder=tmp_path)
    assert Run.at(config, folder=tmp_path).folder == before.folder
    monkeypatch.setitem(STRATEGIES, "changing", After)
    assert Run.at(config, folder=tmp_path).folder != before.folder


def test_a_newer_run_is_refused_in_a_sentence(tiny, tmp_path):
    run = Run.at(tiny, folder=tmp_path)
    path = run.folder / "run.json"
    path.write_text(json.dumps({**run.facts, "schema": SCHEMA + 1}))
    with pytest.raises(ValueError, match=f"schema {SCHEMA} or older; got {SCHEMA + 1}"):
        Run(run.folder)
    with pytest.raises(ValueError, match="a newer cl_flow wrote it. Update this one"):
        Run.at(tiny, folder=tmp_path)
    other = Run.at(tiny.replace(strategy="joint"), folder=tmp_path)
    assert other.folder != run.folder, "what cannot be read is in nobody's way"


def test_half_a_run_json_says_how_to_go_on(tiny, tmp_path):
    run = Run.at(tiny, folder=tmp_path)
    (run.folder / "run.json").write_text('{"config": {')
    with pytest.raises(ValueError, match="Delete the folder to train the run anew"):
        Run(run.folder)


def test_a_list_of_runs_says_in_what_they_differ(tiny, tmp_path):
    same = tiny.replace(seed=1)
    names = [Run.at(tiny.replace(whiten=8), folder=tmp_path).name]
    names += [Run.at(config, folder=tmp_path).name for config in (tiny, same)]
    rows = library.describe_runs(tmp_path).set_index("run").loc[names]
    assert rows["differs"].tolist() == ["whiten=8", "whiten=12", "whiten=12"]
    assert (rows["megabytes"] >= 0).all() and (rows["days"] == 0).all()
    (tmp_path / names[0] / "run.json").write_text("{")
    rows = library.describe_runs(tmp_path).set_index("run").loc[names]
    assert rows["differs"].tolist() == ["", "", ""]
    assert rows["strategy"].isna().tolist() == [True, False, False]
    assert library.describe_runs(tmp_path / "none").empty


def test_run_folders_are_those_with_a_run(tiny, tmp_path):
    run = Run.at(tiny, folder=tmp_path)
    (tmp_path / "else").mkdir()
    assert library.run_folders(tmp_path) == [run.folder]
