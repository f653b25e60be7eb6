"""A category whose test images are all of one class is NaN, and keeps no other from
being measured.
"""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import evaluate, forgetting_table, r_matrix, scoring
from analysis.detection import image_scores
from analysis.scoring import Scoring
from cl_flow import Run, fit


@pytest.fixture(params=["test/good", "test/blot"])
def run(request, tiny, tmp_path, monkeypatch) -> Run:
    root = tmp_path / "photographs"
    shutil.copytree(tiny.root, root)
    shutil.rmtree(root / "bee" / request.param)
    scoring._tell_once.cache_clear()
    return fit(tiny.replace(root=str(root)), folder=tmp_path / "runs", progress=False)


def test_its_metrics_are_nan_and_it_is_named_once(run, caplog):
    with caplog.at_level(logging.WARNING):
        table = evaluate(run, scoring=Scoring(metric=("image_auroc", "pixel_auroc")))
    missing = table["value"].isna()
    assert set(table.loc[missing, "category"]) == {"bee"}
    lost = {"image_auroc"}  # pixels around a defect are normal ones
    if not (Path(run.config.root) / "bee" / "test" / "blot").is_dir():
        lost = {"image_auroc", "pixel_auroc"}
    assert set(table.loc[missing, "metric"]) == lost
    others = {"ant", "cat", "dog", "elk", "fox"}
    assert set(table.loc[~missing, "category"]) - {"bee"} == others
    told = [one for one in caplog.messages if one.startswith("bee has no")]
    assert len(told) == 1 and "mean is over its other categories" in told[0]


def test_a_task_s_mean_is_over_its_other_categories(run):
    table = evaluate(run)
    of_first = table.query("step == 1 and task == 0 and part == 'product'")
    of_first = of_first[of_first["metric"] == "image_auroc"].dropna(subset="value")
    assert len(of_first) == 2
    assert r_matrix(table)[1, 0] == pytest.approx(of_first["value"].mean())


@pytest.mark.parametrize("metric", ["image_auroc", "pixel_auroc"])
def test_what_each_task_lost_is_still_said(run, metric):
    table = forgetting_table(run, metric=metric)
    assert np.isfinite(table[["learned", "final", "change"]]).all(axis=None)
    assert len(image_scores(run)) and Path(run.config.root).is_dir()


def test_black_masks_leave_the_metrics_of_images(tiny, tmp_path, caplog):
    root = tmp_path / "photographs"
    shutil.copytree(tiny.root, root)
    for path in (root / "bee" / "ground_truth").rglob("*.png"):
        Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(path)
    scoring._tell_once.cache_clear()
    config = tiny.replace(root=str(root))
    run = fit(config, folder=tmp_path / "runs", progress=False)
    table = evaluate(run)
    missing = table[table["value"].isna()]
    assert set(missing["category"]) == {"bee"}
    assert set(missing["metric"]) == {"pixel_auroc"}
    assert "bee has no white pixel in its masks" in caplog.text
    assert np.isfinite(forgetting_table(run, metric="pixel_auroc")["change"]).all()
