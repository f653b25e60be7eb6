"""What a full disk, a power cut or a flipped bit left is named, and made anew."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from analysis import evaluate
from cl_flow import Run, fit
from cl_flow.data import store
from cl_flow.data.extraction import load_features
from cl_flow.runs import snapshot
from cl_flow.runs.config import load_samples
from tests.cl_flow.runs.test_fitting import digests


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Turn a bit near the end, where the payload is."""
    content = bytearray(path.read_bytes())
    content[-200] ^= 0x10
    path.write_bytes(bytes(content))


SPOILS = {"cut": cut, "empty": empty, "flipped": flip, "lost": Path.unlink}


@pytest.fixture(autouse=True)
def another_session(monkeypatch) -> None:
    """Nothing was verified yet."""
    monkeypatch.setattr(store, "_VERIFIED", set())
    monkeypatch.setattr(snapshot, "_VERIFIED", set())


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("name", SPOILS)
def test_a_run_goes_on_from_its_last_whole_snapshot(tiny, tmp_path, name, step, caplog):
    run = fit(tiny, folder=tmp_path, progress=False)
    before = digests(run)
    path = run.folder / f"step-{step:02d}.safetensors"
    SPOILS[name](path)
    if name == "lost":
        assert not run.is_complete
    else:
        with pytest.raises(ValueError, match=f"after step {step}, whole; got .*Delete"):
            run[step].model()
        (run.folder / "complete").unlink()
    again = fit(tiny, folder=tmp_path, progress=False)
    assert again.is_complete and digests(again) == before
    assert name == "lost" or f"after step {step}, whole" in caplog.text


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.parametrize("which", ["level0.npy", "complete.json"])
@pytest.mark.parametrize("whitened", [True, False])
def test_broken_features_are_made_anew(
    tiny, tmp_path, monkeypatch, caplog, name, which, whitened
):
    if (name, which) == ("flipped", "complete.json"):
        pytest.skip("JSON says itself what it cannot read")
    monkeypatch.setattr("cl_flow.paths.DATA", tmp_path)
    config = tiny.replace(whiten=12 if whitened else None)
    samples = load_samples(config)

    def features():
        plain = load_features(samples, config.features, root=tmp_path, progress=False)
        return plain.whitened(12, fit_on=["ant", "bee"]) if whitened else plain

    before = [np.array(level) for level in features().levels]
    SPOILS[name](features().folder / which)
    monkeypatch.setattr(store, "_VERIFIED", set())
    with caplog.at_level(logging.WARNING):
        after = features().levels
    assert all(map(np.array_equal, before, after))
    assert "anew" in caplog.text or (name, which) == ("lost", "complete.json")


@pytest.mark.parametrize("spoil", [cut, empty])
def test_a_broken_table_is_measured_anew(tiny, tmp_path, spoil: Callable, caplog):
    run = fit(tiny, folder=tmp_path, progress=False)
    before = evaluate(run)
    (path,) = (run.folder / "tables").glob("evaluate-*.parquet")
    spoil(path)
    assert evaluate(Run(run.folder)).equals(before)
    assert "measured anew" in caplog.text


def test_a_snapshot_of_before_has_no_checksum_and_is_read(tiny, tmp_path):
    run = fit(tiny, folder=tmp_path, progress=False)
    path = run.folder / "step-01.safetensors"
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["cl_flow"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    del facts["crc32"]
    save_file(tensors, path, metadata={"cl_flow": json.dumps(facts)})
    assert torch.is_tensor(run[1].model().levels[0].codes)
