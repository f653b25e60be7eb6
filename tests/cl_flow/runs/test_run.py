"""What lies on disk: snapshots that score the same after a round trip, and runs that
can be carried elsewhere.
"""

import shutil

import pytest
import torch

from cl_flow import Run, calibrate, fit, score
from cl_flow.runs.snapshot import Snapshot


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Run:
    return fit(tiny, folder=tmp_path_factory.mktemp("runs"), progress=False)


def test_a_snapshot_scores_the_same_after_a_round_trip(run, tmp_path):
    model, features = run[1].model(), run.features
    Snapshot.write(tmp_path / "copy.safetensors", model, {"kept": torch.arange(3)})
    copy = Snapshot(tmp_path / "copy.safetensors", 1)
    assert torch.equal(copy.memory()["kept"], torch.arange(3)) and run[1].memory() == {}
    test, train = features.where(split="test"), features.where(split="train")
    maps = [score(m, test, calibrate(m, train)).product for m in (model, copy.model())]
    assert torch.equal(*maps)
    assert copy.categories == model.categories and not copy.model().training


def test_the_same_snapshot_twice_is_the_same_file(run, tmp_path):
    for name in ("a", "b"):
        Snapshot.write(tmp_path / name, run[0].model(), {})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_expanded_model_keeps_its_blocks(run, tmp_path):
    model = run[1].model().expand_(["gnu"])
    Snapshot.write(tmp_path / "x", model, {})
    again = Snapshot(tmp_path / "x", 2).model()
    assert [len(block["mu"]) for block in again.levels[0].mixture.blocks()] == [3, 3, 1]


def test_a_run_is_a_sequence_of_snapshots(run):
    assert len(run) == 2 and run[-1].step == 1 and run[-2].step == 0
    assert [snapshot.step for snapshot in run] == [0, 1]
    with pytest.raises(IndexError, match="a step between -2 and 1"):
        run[2]


def test_a_run_carried_elsewhere_still_works(run, tiny, tmp_path):
    shutil.copytree(run.folder, tmp_path / "carried")
    shutil.copytree(tiny.root, tmp_path / "photos")
    there = Run(tmp_path / "carried", root=tmp_path / "photos")
    assert there.is_complete and there.tasks == run.tasks
    assert there.features.samples["image_path"].str.startswith(str(tmp_path)).all()


def test_a_run_says_what_made_it(run):
    facts = run.facts
    assert set(facts["versions"]) == {"torch", "timm", "FrEIA", "numpy"}
    assert [step["categories"] for step in facts["steps"]] == [
        ["ant", "bee", "cat"],
        ["dog", "elk", "fox"],
    ]
    assert "complete" in repr(run) and "ant, bee, cat" in run._repr_html_()


def test_no_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a run .*run.json"):
        Run(tmp_path)
