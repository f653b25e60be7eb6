"""BTAD: normal images are named ok, masks are PNG or BMP."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_flow.data.datasets.btad import CATEGORIES, btad
from cl_flow.data.datasets.check import validate


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each its own, neither black nor white all over.
    pixels = np.random.default_rng(zlib.crc32(str(path).encode()))
    pixels = pixels.integers(0, 2, (6, 8), dtype=np.uint8) * 200
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for category, image, mask in (
        ("01", ".bmp", ".png"),
        ("02", ".png", ".png"),
        ("03", ".bmp", ".bmp"),
    ):
        for place in (
            "train/ok/0000",
            "train/ok/0001",
            "test/ok/0000",
            "test/ko/0000",
            "test/ko/0001",
        ):
            write(tmp_path / category / f"{place}{image}")
        for stem in ("0000", "0001"):
            write(tmp_path / category / "ground_truth" / "ko" / f"{stem}{mask}")
    return tmp_path


def test_btad_reads_its_own_layout(tree):
    samples = btad(tree)
    assert set(samples["dataset"]) == {"btad"}
    assert list(samples["category"].unique()) == list(CATEGORIES)
    assert samples.groupby(["split", "defect"]).size().to_dict() == {
        ("train", "good"): 6, ("test", "good"): 3, ("test", "ko"): 6,
    }  # fmt: skip
    assert (samples["label"] == (samples["defect"] == "ko")).all()
    assert samples["mask_path"].iloc[-1] == str(tree / "03/ground_truth/ko/0001.bmp")
    validate(samples, progress=False)


def test_a_tree_without_ok_is_told_where_it_belongs(tree):
    (tree / "02" / "train" / "ok").rename(tree / "02" / "train" / "good")
    with pytest.raises(
        FileNotFoundError,
        match="Expected normal images in .*02/train/ok.*train holds good",
    ):
        btad(tree)
    assert len(btad(tree, categories=["01"])) == 5


def test_a_missing_category_is_named(tree):
    (tree / "03").rename(tree / "3")
    with pytest.raises(
        ValueError, match="Expected category 03 in .*; known there: 01, 02, 3"
    ):
        btad(tree)
