"""MVTec 3D-AD: the photographs beside the point clouds, without the split `validation`."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_flow.data.datasets.check import validate
from cl_flow.data.datasets.mvtec_3d import CATEGORIES, mvtec_3d


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each its own, neither black nor white all over.
    pixels = np.random.default_rng(zlib.crc32(str(path).encode()))
    pixels = pixels.integers(0, 2, (6, 8), dtype=np.uint8) * 200
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    places = (
        "train/good/rgb",
        "validation/good/rgb",
        "test/good/rgb",
        "test/good/gt",
        "test/hole/rgb",
        "test/hole/gt",
    )
    for category in CATEGORIES:
        for place in places:
            write(tmp_path / category / place / "000.png")
        for place in ("train/good/xyz", "test/hole/xyz"):
            write(tmp_path / category / place / "000.tiff")
        (tmp_path / category / "calibration").mkdir()
    return tmp_path


def test_mvtec_3d_reads_its_photographs(tree):
    samples = mvtec_3d(tree)
    assert (
        list(samples["category"].unique()) == list(CATEGORIES) and len(CATEGORIES) == 10
    )
    assert samples.groupby(["split", "defect"]).size().to_dict() == {
        ("train", "good"): 10, ("test", "good"): 10, ("test", "hole"): 10,
    }  # fmt: skip
    assert samples["image_path"].str.endswith("rgb/000.png").all()
    assert not samples["image_path"].str.contains("validation").any()
    assert list(samples["mask_path"][:3]) == [
        "",
        "",
        str(tree / "bagel/test/hole/gt/000.png"),
    ]
    validate(samples, progress=False)


def test_a_missing_mask_is_named(tree):
    (tree / "tire" / "test" / "hole" / "gt" / "000.png").unlink()
    with pytest.raises(
        FileNotFoundError, match="tire/test/hole/rgb/000.png at .*tire/test/hole/gt/000"
    ):
        mvtec_3d(tree)


def test_mvtec_ad_given_instead_is_told_the_expected_folder(tree):
    for path in (tree / "bagel" / "train" / "good" / "rgb").iterdir():
        path.rename(tree / "bagel" / "train" / "good" / path.name)
    (tree / "bagel" / "train" / "good" / "rgb").rmdir()
    with pytest.raises(
        FileNotFoundError,
        match="Expected normal images in .*bagel/train/good/rgb; got no such folder",
    ):
        mvtec_3d(tree)
