"""A tree of photographs becomes samples, and a tree of another shape one clear
sentence.
"""

import re
import shutil
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_flow.data.datasets import COLUMNS, DATASETS
from cl_flow.data.datasets.check import validate
from cl_flow.data.datasets.folder import folder, read_tree


def write(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each its own, neither black nor white all over.
    pixels = np.random.default_rng(zlib.crc32(str(path).encode()))
    pixels = pixels.integers(0, 2, size[::-1], dtype=np.uint8) * 200
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two categories: 3 training images, 1 good and 2 scratched test images each."""
    for category in ("cup", "bolt"):
        home = tmp_path / "mine" / category
        for name in (
            "train/good/002.png",
            "train/good/000.png",
            "train/good/001.png",
            "test/good/000.png",
        ):
            write(home / name)
        for stem in ("000", "001"):
            write(home / "test" / "scratch" / f"{stem}.png")
            write(home / "ground_truth" / "scratch" / f"{stem}_mask.png")
    return tmp_path / "mine"


def test_samples_hold_one_sorted_row_per_image(tree):
    samples = folder(tree)
    assert list(samples.columns) == COLUMNS
    assert list(samples.index) == list(range(12))
    assert set(samples["dataset"]) == {"mine"}
    assert list(samples["category"]) == ["bolt"] * 6 + ["cup"] * 6
    bolt = samples[:6]
    assert list(bolt["split"]) == ["train"] * 3 + ["test"] * 3
    assert list(bolt["defect"]) == ["good"] * 4 + ["scratch"] * 2
    assert list(bolt["label"]) == [0] * 4 + [1] * 2
    assert [Path(path).name for path in bolt["image_path"]] == ["000.png", "001.png", "002.png"] + [
        "000.png", "000.png", "001.png"
    ]  # fmt: skip
    assert list(bolt["mask_path"][:4]) == [""] * 4
    assert bolt["mask_path"][5] == str(tree / "bolt/ground_truth/scratch/001_mask.png")
    assert all(
        Path(path).is_absolute() and Path(path).is_file()
        for path in samples["image_path"]
    )
    assert np.issubdtype(samples["label"].dtype, np.integer)


def test_folder_is_enrolled():
    assert DATASETS["folder"] is folder


def test_relative_root_and_its_name(tree, monkeypatch):
    monkeypatch.chdir(tree)
    samples = folder(".")
    assert samples.equals(folder(tree))


@pytest.mark.parametrize(
    "suffix", [".png", ".PNG", ".jpg", ".JPEG", ".bmp", ".tif", ".TIFF"]
)
def test_every_suffix_is_read_in_any_case(tree, suffix):
    write(tree / "cup" / "train" / "good" / f"extra{suffix}")
    assert len(folder(tree, categories=["cup"])) == 7


@pytest.mark.parametrize("name", ["000.png", "000.PNG", "000.bmp", "000_mask.tif"])
def test_masks_go_by_the_stem_of_the_image(tree, name):
    masks = tree / "cup" / "ground_truth" / "scratch"
    (masks / "000_mask.png").unlink()
    write(masks / name)
    assert str(masks / name) in set(folder(tree)["mask_path"])


def test_what_is_no_image_is_passed_over(tree):
    expected = folder(tree)
    for name in (
        "readme.txt",
        "cup/license.txt",
        "cup/test/scratch/._000.png",
        "cup/train/good/Thumbs.db",
    ):
        (tree / name).write_text("not an image")
    (tree / "complete.json").write_text("{}")
    for name in (
        ".cache/train/good",
        "notes",
        "cup/.hidden",
        "cup/train/.thumbs",
        "cup/test/.thumbs",
    ):
        (tree / name).mkdir(parents=True)
    write(tree / "cup" / "ground_truth" / "good" / "000_mask.png")
    assert folder(tree).equals(expected)


def test_categories_are_chosen_by_name(tree):
    assert set(folder(tree, categories=["cup"])["category"]) == {"cup"}
    assert folder(tree, categories="cup").equals(
        folder(tree, categories=["cup", "cup"])
    )
    assert set(read_tree(tree, dataset="other")["dataset"]) == {"other"}


def test_images_of_mixed_sizes_pass(tree):
    write(tree / "cup" / "train" / "good" / "large.png", size=(30, 20))
    validate(folder(tree), progress=False)


def drop_masks(root: Path) -> None:
    shutil.rmtree(root / "cup" / "ground_truth")


def drop_mask(root: Path) -> None:
    (root / "cup" / "ground_truth" / "scratch" / "001_mask.png").unlink()


def jpeg_mask(root: Path) -> None:
    drop_mask(root)
    write(root / "cup" / "ground_truth" / "scratch" / "001_mask.jpg")


def empty_training(root: Path) -> None:
    for path in (root / "cup" / "train" / "good").iterdir():
        path.unlink()


def rename_training(root: Path) -> None:
    (root / "cup" / "train" / "good").rename(root / "cup" / "train" / "ok")


def defect_in_training(root: Path) -> None:
    write(root / "cup" / "train" / "scratch" / "000.png")


def drop_test(root: Path) -> None:
    shutil.rmtree(root / "cup" / "test")


def empty_defect(root: Path) -> None:
    (root / "cup" / "test" / "dent").mkdir()


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (drop_masks, FileNotFoundError, "Expected a mask for the defect in {root}/cup/test/scratch/000.png at "
         "{root}/cup/ground_truth/scratch/000_mask.png"),
        (drop_mask, FileNotFoundError, "Expected a mask for the defect in {root}/cup/test/scratch/001.png"),
        (jpeg_mask, FileNotFoundError, "Expected a mask for the defect in {root}/cup/test/scratch/001.png"),
        (empty_training, FileNotFoundError, ".tif .tiff .jpg .jpeg .jfif .webp) in {root}/cup/train/good; got none"),
        (rename_training, FileNotFoundError, "Expected normal images in {root}/cup/train/good; got no such folder "
         "(train holds ok)"),
        (defect_in_training, ValueError, "got {root}/cup/train/scratch: move it to {root}/cup/test"),
        (drop_test, FileNotFoundError, "got no test images in {root}/cup/test"),
        (empty_defect, FileNotFoundError, "in {root}/cup/test/dent; got none"),
    ],
)  # fmt: skip
def test_a_category_of_another_shape_is_one_sentence(tree, spoil, error, sentence):
    spoil(tree)
    with pytest.raises(error, match=re.escape(sentence.format(root=tree))) as caught:
        folder(tree)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("Expected ")
    assert len(folder(tree, categories=["bolt"])) == 6


LAYOUT = "<category>/train/good/*, <category>/test/<defect>/* and <category>/ground_truth/<defect>/<stem>_mask.png"


@pytest.mark.parametrize(
    ("place", "error", "sentence"),
    [
        ("{root}/absent", FileNotFoundError, f"Expected a folder with {LAYOUT}; got a path that does not exist: "
         "{root}/absent"),
        ("{root}/cup/train/good/000.png", NotADirectoryError, f"Expected a folder with {LAYOUT}; got a file: "
         "{root}/cup/train/good/000.png"),
        ("{root}/..", ValueError, f"Expected {LAYOUT}; got no category with a train folder in "),
        ("{root}/..", ValueError, "(it holds mine)"),
        ("{root}/cup/train/good", ValueError, "{root}/cup/train/good (it holds no folders)"),
        ("{root}/cup", ValueError, "Expected the folder that holds the categories; got one category, {root}/cup: "
         "pass {root}"),
    ],
)  # fmt: skip
def test_a_root_of_another_shape_is_one_sentence(tree, place, error, sentence):
    with pytest.raises(error, match=re.escape(sentence.replace("{root}", str(tree)))):
        folder(place.format(root=tree))


def test_an_unknown_category_is_told_the_known(tree):
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"Expected category cap, mug in {tree}; known there: bolt, cup"
        ),
    ):
        folder(tree, categories=["cap", "cup", "mug"])


def test_validate_accepts_a_sound_tree(tree):
    assert validate(folder(tree), progress=False) is None


def test_validate_names_a_mask_of_another_size(tree):
    write(tree / "cup" / "ground_truth" / "scratch" / "000_mask.png", size=(6, 8))
    with pytest.raises(
        ValueError,
        match="image's size, 8 x 6 pixels; got 6 x 8 .*/ground_truth/scratch/000_mask.png$",
    ):
        validate(folder(tree), progress=False)


def test_validate_names_a_truncated_image(tree):
    path = tree / "cup" / "train" / "good" / "001.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        ValueError, match="^Expected a whole image; got .*cup/train/good/001.png$"
    ):
        validate(folder(tree), progress=False)


def test_validate_lists_ten_problems_and_counts_the_rest(tree):
    samples = folder(tree)
    for path in samples["image_path"]:
        Path(path).write_bytes(b"")
    with pytest.raises(
        ValueError, match="^Expected 12 readable samples; got 12 that are not:"
    ) as caught:
        validate(samples, progress=False)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12 and lines[-1] == "  … and 2 more"


def test_validate_shows_progress_when_asked(tree, capsys):
    validate(folder(tree), progress=False)
    assert capsys.readouterr().err == ""
    validate(folder(tree))
    assert "/12 [" in capsys.readouterr().err


def test_real_photographs(shared):
    samples = folder(shared / "real")
    assert samples.groupby("split").size().to_dict() == {"test": 175, "train": 210}
    assert samples.groupby("category")["label"].sum().to_dict() == {
        "magnetic_tile": 30, "pcb_12100": 15, "pcb_13000": 15, "pcb_20085": 15, "pcb_44000": 15, "pcb_92000": 15,
    }  # fmt: skip
    validate(samples, progress=False)


# ---- what is no sample, and what looks like one


def test_a_folder_of_webp_is_read(tree):
    for suffix in ("webp", "jfif"):
        path = tree / f"cup/train/good/photo.{suffix}"
        with Image.open(tree / "cup/train/good/000.png") as image:
            image.save(path, format={"jfif": "JPEG"}.get(suffix))
    assert len(folder(tree, categories=["cup"])) == 8


def gif(home: Path) -> None:
    Image.new("L", (8, 6)).save(home / "moving.gif")


def heic(home: Path) -> None:
    (home / "phone.HEIC").write_bytes(b"a phone's picture")


def batch(home: Path) -> None:
    write(home / "batch2" / "deeper" / "000.png")


@pytest.mark.parametrize("leave", [gif, heic, batch])
@pytest.mark.parametrize("place", ["train/good", "test/good", "test/scratch"])
def test_pictures_that_are_left_out_are_counted(tree, leave, place):
    n = len(folder(tree))
    leave(tree / "cup" / place)
    with pytest.warns(UserWarning, match=f"1 pictures of .*{place} are left out"):
        assert len(folder(tree)) == n


def test_what_is_no_picture_is_passed_over_in_silence(tree):
    for name in ("report.pdf", "features.h5", "Thumbs.db", "readme.txt"):
        (tree / "cup/train/good" / name).write_text("no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(folder(tree)) == 12


def test_jpeg_masks_are_told_where_masks_may_be_missing(tree):
    jpeg_mask(tree)
    with pytest.warns(UserWarning, match="ground_truth/scratch are left out"):
        DATASETS["folder_without_masks"](tree)


def test_a_folder_with_an_images_name_is_no_image(tree):
    (tree / "cup/train/good/old.png").mkdir()
    assert len(folder(tree)) == 12


@pytest.mark.parametrize("name", ["OK", "Good", "normal", "defect-free"])
def test_normal_images_are_no_kind_of_defect(tree, name):
    (tree / "cup/test/good").rename(tree / "cup/test" / name)
    expected = rf"normal test images in .*good; got .*{name}"
    with pytest.raises(ValueError, match=expected):
        folder(tree)


def test_two_images_of_one_mask_are_named(tree):
    write(tree / "cup/test/scratch/000.jpg")
    with pytest.raises(ValueError, match="got 000.jpg and 000.png in"):
        folder(tree)


def test_a_mask_beside_its_image_is_named(tree):
    mask = tree / "cup/ground_truth/scratch/000_mask.png"
    shutil.copy(mask, tree / "cup/test/scratch/000_mask.png")
    with pytest.raises(ValueError, match="masks apart.*scratch/000_mask.png"):
        folder(tree)


def test_images_alone_may_be_labelled_when_asked(tree):
    drop_masks(tree)
    with pytest.raises(FileNotFoundError, match="folder_without_masks"):
        folder(tree)
    samples = DATASETS["folder_without_masks"](tree)
    assert len(samples) == 12 and set(samples["dataset"]) == {"mine"}
    lacks = samples["mask_path"] == ""
    assert lacks[samples["category"] == "cup"].all()
    assert samples["label"].sum() == 4


@pytest.mark.parametrize(
    ("value", "says"), [(0, "without a defect"), (255, "all over")]
)
def test_validate_doubts_a_mask_that_says_nothing(tree, value, says):
    mask = tree / "cup/ground_truth/scratch/000_mask.png"
    Image.fromarray(np.full((6, 8), value, np.uint8)).save(mask)
    with pytest.warns(UserWarning, match=f"{says}: .*000_mask.png"):
        validate(folder(tree), progress=False)


def test_validate_names_a_training_image_among_the_test_ones(tree):
    image = np.random.default_rng(0).integers(0, 255, (6, 8), dtype=np.uint8)
    for place in ("train/good/002.png", "test/good/000.png"):
        Image.fromarray(image).save(tree / "cup" / place)
    with pytest.raises(ValueError, match="not trained on; got .*cup/test/good/000.png"):
        validate(folder(tree), progress=False)


def test_validate_counts_pages(tree):
    path = tree / "cup/train/good/stack.tif"
    pages = [Image.new("L", (8, 6), shade) for shade in (10, 20, 30)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.warns(UserWarning, match="3 pages, .*stack.tif"):
        validate(folder(tree), progress=False)
