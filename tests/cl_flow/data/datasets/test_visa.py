"""VisA: the authors' one-class split decides what is training and what is test."""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_flow.data.datasets.check import validate
from cl_flow.data.datasets.visa import CATEGORIES, visa
from cl_flow.data.images import read_mask


def write(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 8), dtype=np.uint8)
    pixels[2, 3] = value
    if not value:  # an image, each its own
        rng = np.random.default_rng(zlib.crc32(str(path).encode()))
        pixels = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    lines = ["object,split,label,image,mask"]
    for name in CATEGORIES:
        home = f"{name}/Data"
        for stem, split in (("0002", "train"), ("0001", "test"), ("0000", "train")):
            lines.append(f"{name},{split},normal,{home}/Images/Normal/{stem}.JPG,")
            write(tmp_path / home / "Images" / "Normal" / f"{stem}.JPG")
        lines.append(
            f"{name},test,anomaly,{home}/Images/Anomaly/000.JPG,{home}/Masks/Anomaly/000.png"
        )
        write(tmp_path / home / "Images" / "Anomaly" / "000.JPG")
        write(tmp_path / home / "Masks" / "Anomaly" / "000.png", value=3)
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def edit(root: Path, old: str, new: str) -> None:
    path = root / "split_csv" / "1cls.csv"
    path.write_text(path.read_text().replace(old, new))


def test_visa_follows_the_split(tree):
    samples = visa(tree)
    assert (
        list(samples["category"].unique()) == list(CATEGORIES) and len(CATEGORIES) == 12
    )
    candle = samples[:4]
    assert list(candle["split"]) == ["train", "train", "test", "test"]
    assert list(candle["defect"]) == ["good", "good", "anomaly", "good"]
    assert list(candle["label"]) == [0, 0, 1, 0]
    assert list(candle["mask_path"]) == [
        "",
        "",
        str(tree / "candle/Data/Masks/Anomaly/000.png"),
        "",
    ]
    assert candle["image_path"][0] == str(tree / "candle/Data/Images/Normal/0000.JPG")
    validate(samples, progress=False)


def test_a_numbered_defect_is_a_defect(tree):
    mask = read_mask(visa(tree)["mask_path"][2], (8, 6))
    assert mask.sum() == 1 and mask[2, 3]


def test_the_mask_of_a_normal_image_is_passed_over(tree):
    expected = visa(tree)
    edit(
        tree,
        "candle/Data/Images/Normal/0001.JPG,",
        "candle/Data/Images/Normal/0001.JPG,black.png",
    )
    assert visa(tree).equals(expected)


def test_categories_are_chosen_by_name(tree):
    assert set(visa(tree, categories=["pcb1", "cashew"])["category"]) == {
        "cashew",
        "pcb1",
    }
    with pytest.raises(
        ValueError,
        match="Expected category pcb5 in .*1cls.csv; known there: candle, capsules",
    ):
        visa(tree, categories=["pcb5"])


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda root: (root / "split_csv/1cls.csv").unlink(), FileNotFoundError,
         "Expected split_csv/1cls.csv and the images it names, such as candle/Data/Images/Normal/0000.JPG in {root}; "
         "got no file {root}/split_csv/1cls.csv"),
        (lambda root: (root / "cashew/Data/Images/Normal/0000.JPG").unlink(), FileNotFoundError,
         "got no file {root}/cashew/Data/Images/Normal/0000.JPG"),
        (lambda root: (root / "cashew/Data/Masks/Anomaly/000.png").unlink(), FileNotFoundError,
         "got no file {root}/cashew/Data/Masks/Anomaly/000.png"),
        (lambda root: edit(root, "cashew/Data/Masks/Anomaly/000.png", ""), FileNotFoundError,
         "Expected a mask for the defect in {root}/cashew/Data/Images/Anomaly/000.JPG, named in "
         "{root}/split_csv/1cls.csv; got no name"),
        (lambda root: edit(root, "object,", "category,"), ValueError, "got none named object: {root}/split_csv"),
        (lambda root: edit(root, "cashew,test,normal", "cashew,val,normal"), ValueError, "got 'val': {root}/split_csv"),
        (lambda root: edit(root, "cashew,test,anomaly", "cashew,test,bad"), ValueError, "got 'bad': {root}/split_csv"),
        (lambda root: edit(root, "cashew,test,anomaly", "cashew,train,anomaly"), ValueError,
         "Expected only normal images in the split train; got an anomaly: {root}/split_csv/1cls.csv"),
    ],
)  # fmt: skip
def test_a_tree_of_another_shape_is_one_sentence(tree, spoil, error, sentence):
    spoil(tree)
    with pytest.raises(error, match=re.escape(sentence.format(root=tree))) as caught:
        visa(tree)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("Expected ")


def test_a_root_that_is_not_there_or_a_file(tree):
    with pytest.raises(
        FileNotFoundError, match="1cls.csv.*got a path that does not exist: .*absent"
    ):
        visa(tree / "absent")
    with pytest.raises(NotADirectoryError, match="got a file: .*1cls.csv"):
        visa(tree / "split_csv" / "1cls.csv")
