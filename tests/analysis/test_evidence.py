"""A table is that of the images, masks, weights and code at hand, or says why not."""

import dataclasses
import logging
import shutil
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import save_file

from analysis import evaluate
from analysis.centers import center_distances
from analysis.experiments import table
from analysis.scoring import METRICS, Scoring
from cl_flow import Run, RunConfig, fit
from cl_flow.data.backbones import load_backbone
from cl_flow.data.extraction import fingerprint


@pytest.fixture
def photographs(tiny, tmp_path) -> RunConfig:
    """The config of a run on a folder of its own, which a test may spoil."""
    root = tmp_path / "photographs"
    shutil.copytree(tiny.root, root)
    return tiny.replace(root=str(root))


def invert(path: Path) -> None:
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def auroc(run: Run, metric: str, **options) -> list[float]:
    rows = evaluate(run, scoring=Scoring(metric=metric, **options))
    return rows.loc[rows["part"] == "product", "value"].tolist()


def images_of(config: RunConfig, place: str) -> list[Path]:
    return sorted(Path(config.root).glob(f"*/{place}/*.png"))


# ---- what is measured on


def test_other_test_images_give_another_table(photographs, tmp_path):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    before = auroc(run, "image_auroc")
    for path in images_of(photographs, "test/good"):
        invert(path)
    again = Run(run.folder)
    fresh = auroc(again, "image_auroc", sigma=4.0001)
    assert auroc(again, "image_auroc") == pytest.approx(fresh, abs=1e-3) != before
    assert fit(photographs, folder=tmp_path / "runs", progress=False).name == run.name


def test_repaired_masks_give_another_table(photographs, tmp_path):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    before = auroc(run, "pixel_auroc")
    for path in images_of(photographs, "ground_truth/blot"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.roll(mask, 11, axis=1)).save(path)
    assert auroc(run, "pixel_auroc") != before


def test_a_run_pointed_at_other_test_images_measures_those(photographs, tmp_path):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    before = auroc(run, "image_auroc")
    other = tmp_path / "other"
    shutil.copytree(photographs.root, other)
    for path in sorted(other.glob("*/test/good/*.png")):
        invert(path)
    assert auroc(Run(run.folder, root=other), "image_auroc") != before
    assert auroc(Run(run.folder), "image_auroc") == before


def test_tables_travel_without_images_and_centers_need_none(
    photographs, tmp_path, caplog
):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    before = evaluate(run)
    shutil.rmtree(photographs.root)
    carried = Run(run.folder)
    with caplog.at_level(logging.INFO, logger="analysis"):
        pd.testing.assert_frame_equal(evaluate(carried), before)
    assert "its images are not here; read evaluate-" in caplog.text
    assert len(center_distances(carried)) and len(carried.tasks) == 2
    with pytest.raises(FileNotFoundError, match="photographs"):
        evaluate(carried, scoring=Scoring(sigma=1.0))


# ---- what was learnt


@pytest.mark.parametrize("change", ["replaced", "added", "category"])
def test_other_training_images_are_another_run_and_the_old_one_says_so(
    photographs, tmp_path, change
):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    first = images_of(photographs, "train/good")[0]
    if change == "replaced":
        invert(first)
    elif change == "added":
        shutil.copy(first, first.with_name("more.png"))
    else:
        root = Path(photographs.root)
        shutil.copytree(root / "ant", root / "aardvark")
    old = Run(run.folder)
    with pytest.raises(
        ValueError, match=r"learned 36; got others in .*fit\(run.config\)"
    ):
        _ = old.features
    assert len(old.tasks) == 2, "its tasks are those it learnt"
    with pytest.warns(UserWarning, match="have changed since"):
        again = fit(photographs, folder=tmp_path / "runs", progress=False)
    assert again.folder != run.folder
    n = sum(step["images"] for step in again.facts["steps"])
    assert n == {"replaced": 36, "added": 37, "category": 42}[change]


def test_an_interrupted_run_never_goes_on_with_other_images(photographs, tmp_path):
    run = fit(photographs, folder=tmp_path / "runs", progress=False)
    for path in (run.folder / "complete", run.folder / "step-01.safetensors"):
        path.unlink()
    invert(images_of(photographs, "train/good")[0])
    with pytest.warns(UserWarning, match="have changed since"):
        again = fit(photographs, folder=tmp_path / "runs", progress=False)
    assert again.folder != run.folder and len(run) == 1


def test_other_weights_under_the_same_name_are_another_run(photographs, tmp_path):
    model, _ = load_backbone(photographs.features)
    path = tmp_path / "weights.safetensors"
    state = {name: 1.1 * x for name, x in model.state_dict().items()}
    save_file(state, path)
    features = dataclasses.replace(photographs.features, weights=str(path))
    config = photographs.replace(features=features)
    run = fit(config, folder=tmp_path / "runs", progress=False)
    before = auroc(run, "image_auroc")
    save_file({name: 2 * x for name, x in state.items()}, path)
    with pytest.raises(ValueError, match="learned with; got others under their name"):
        evaluate(Run(run.folder))
    with pytest.warns(UserWarning, match="have changed since"):
        again = fit(config, folder=tmp_path / "runs", progress=False)
    assert again.folder != run.folder and len(before) == len(
        auroc(again, "image_auroc")
    )


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".png"])
def test_a_pixel_in_the_middle_makes_another_fingerprint(tmp_path, suffix):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    path = tmp_path / f"x{suffix}"
    samples = pd.DataFrame(
        {"image_path": [str(path)], "mask_path": "", "category": "a", "defect": "good"}
    )
    digests = set()
    for value in (3, 4):
        pixels[48, 48] = value
        Image.fromarray(pixels).save(path)
        digests |= {fingerprint(samples), fingerprint(samples, masks=True)}
    assert len(digests) == 2


# ---- what is computed


def test_a_metric_redefined_is_computed_anew(tiny, tmp_path, monkeypatch):
    run = fit(tiny, folder=tmp_path, progress=False)

    def define(value: str) -> None:
        place = {}
        exec(f"def image_mine(labels, scores): return {value}", place)
        place["image_mine"].__module__ = "__main__"
        monkeypatch.setitem(METRICS, "image_mine", place["image_mine"])

    for value in ("1.0", "2.0"):
        define(value)
        assert set(auroc(run, "image_mine")) == {float(value)}


def test_a_table_of_a_notebook_is_cached_and_told_apart_when_edited(tiny, tmp_path):
    run = fit(tiny, folder=tmp_path, progress=False)
    calls = []

    def cell(value: float):
        place = {"pd": pd, "calls": calls, "__name__": "__main__"}
        source = f"""
            def mine(run):
                calls.append({value})
                return pd.DataFrame({{"value": [{value}]}})
            """
        exec(textwrap.dedent(source), place)
        return table(place["mine"])

    assert cell(1.0)(run)["value"].tolist() == [1.0]
    assert cell(1.0)(run)["value"].tolist() == [1.0]
    assert cell(2.0)(run)["value"].tolist() == [2.0]
    assert calls == [1.0, 2.0]


def test_a_table_that_cannot_be_kept_is_still_told(tiny, tmp_path, monkeypatch, caplog):
    run = fit(tiny, folder=tmp_path / "runs", progress=False)

    @contextmanager
    def refuse(path):
        raise PermissionError(f"{path} is read-only")
        yield

    monkeypatch.setattr("analysis.experiments.atomic", refuse)
    told = evaluate(run)
    assert "evaluate-" in caplog.text and "is measured but not kept" in caplog.text
    monkeypatch.undo()
    pd.testing.assert_frame_equal(evaluate(run), told)
    pd.testing.assert_frame_equal(evaluate(run), told)
