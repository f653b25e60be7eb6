"""The drawn datasets: determined by their key, exact in their masks, and written once,
whole and nowhere else.
"""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cl_flow.data.datasets import COLUMNS, DATASETS
from cl_flow.data.datasets.drawn.categories import CATEGORIES
from cl_flow.data.datasets.drawn.drawing import draw
from cl_flow.data.datasets.drawn.synthetic import SIZES, smoke
from cl_flow.data.datasets.mvtec import CATEGORIES as MVTEC

PAIRS = [
    (category, defect)
    for category, entry in CATEGORIES.items()
    for defect in entry.defects
]


@pytest.fixture(scope="module")
def smoke_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawings") / "smoke"
    return root, DATASETS["smoke"](root)


def test_the_table_is_complete():
    assert tuple(sorted(CATEGORIES)) == MVTEC
    assert all(len(entry.defects) >= 3 for entry in CATEGORIES.values())
    kinds = {defect for _, defect in PAIRS}
    assert {
        "scratch",
        "stain",
        "hole",
        "texture_swap",
        "missing_part",
        "bent_part",
    } <= kinds
    assert sum(sum(vars(SIZES["synthetic"]).values()) for _ in CATEGORIES) < 2000


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_image_depends_on_its_key_alone(category):
    first, mask = draw(category, "train", 3)
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert mask.shape == (128, 128) and mask.dtype == bool and not mask.any()
    others = [
        draw(category, "train", 4),
        draw(category, "test", 3),
        draw(category, "train", 3, seed=1),
    ]
    np.testing.assert_array_equal(draw(category, "train", 3)[0], first)
    for other, _ in others:
        assert np.abs(other.astype(int) - first).mean() > 2


def test_no_two_normals_are_equal():
    images = [
        draw("pill", split, index)[0].tobytes()
        for split in ("train", "test")
        for index in range(20)
    ]
    assert len(set(images)) == len(images)


def test_a_specimen_looks_like_its_category():
    """Normals vary, but around something: of the categories' mean images, its own is
    the nearest to a new one.
    """
    means = np.array(
        [
            np.mean([_thumbnail(category, index) for index in range(3)], axis=0)
            for category in CATEGORIES
        ]
    )
    for number, category in enumerate(CATEGORIES):
        distances = np.abs(means - _thumbnail(category, 7)).mean((1, 2, 3))
        assert distances.argmin() == number, (
            f"{category} is taken for {list(CATEGORIES)[distances.argmin()]}"
        )


def _thumbnail(category, index):
    return draw(category, "train", index)[0].reshape(16, 8, 16, 8, 3).mean((1, 3))


@pytest.mark.parametrize(("category", "defect"), PAIRS)
def test_a_mask_is_exactly_what_the_defect_changed(category, defect):
    healthy, _ = draw(category, "test", 0)
    image, mask = draw(category, "test", 0, defect=defect)
    np.testing.assert_array_equal((image != healthy).any(2), mask)
    change = np.abs(image.astype(int) - healthy).max(2)[mask]
    assert change.min() >= 5, "every marked pixel is visibly changed"
    assert change.mean() > 20, "the defect as a whole is plain to see"
    assert 0.01 <= mask.mean() <= 0.12


@pytest.mark.parametrize(
    ("category", "defect"), [("wood", "stain"), ("cable", "bent_part")]
)
def test_a_defect_varies(category, defect):
    masks = [draw(category, "test", index, defect=defect)[1] for index in range(3)]
    assert not (masks[0] == masks[1]).all() and not (masks[1] == masks[2]).all()
    np.testing.assert_array_equal(draw(category, "test", 0, defect=defect)[1], masks[0])


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(KeyError, match="Unknown category 'bolt'; known: bottle"):
        draw("bolt", "train", 0)
    with pytest.raises(KeyError, match="Unknown defect of tile 'rust'; known: crack"):
        draw("tile", "test", 0, defect="rust")
    with pytest.raises(
        ValueError, match="Expected the split 'train' or 'test'; got 'valid'"
    ):
        draw("tile", "valid", 0)


def test_smoke_reads_back(smoke_tree):
    root, samples = smoke_tree
    assert list(samples.columns) == COLUMNS
    counts = (
        samples.groupby(["category", "split", "label"])
        .size()
        .unstack(["split", "label"])
    )
    assert len(counts) == 15
    assert (
        (counts["train", 0] == 8).all()
        and (counts["test", 0] == 4).all()
        and (counts["test", 1] == 6).all()
    )
    assert set(samples["dataset"]) == {"smoke"}
    for category, entry in CATEGORIES.items():
        defects = samples["defect"][
            (samples["category"] == category) & (samples["label"] == 1)
        ]
        assert set(defects) == set(entry.defects)
    files = {path.name for path in root.iterdir() if path.is_file()}
    assert files == {"complete.json", ".lock"}


def test_files_hold_what_was_drawn(smoke_tree):
    _, samples = smoke_tree
    row = samples.query("category == 'carpet' and split == 'train'").iloc[2]
    np.testing.assert_array_equal(
        _pixels(row.image_path), draw("carpet", "train", 2)[0]
    )
    row = samples.query("category == 'carpet' and label == 1").iloc[0]
    mask = _pixels(row.mask_path)
    assert mask.shape == (128, 128) and set(np.unique(mask)) == {0, 255}


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_defective_image_has_no_normal_twin(smoke_tree):
    _, samples = smoke_tree
    tests = samples.query("category == 'screw' and split == 'test'")
    images = [_pixels(path) for path in tests["image_path"]]
    same = [(a == b).all(2).mean() for i, a in enumerate(images) for b in images[:i]]
    assert max(same) < 0.5


def test_a_second_call_draws_nothing(smoke_tree):
    root, samples = smoke_tree
    before = _times(root)
    assert DATASETS["smoke"](root).equals(samples)
    assert _times(root) == before


def test_who_comes_while_another_draws_finds_it_drawn(tmp_path, monkeypatch):
    drawn = []

    def counted(*key, **options):
        drawn.append((*key, options["defect"]))
        return draw(*key, **options)

    monkeypatch.setattr("cl_flow.data.datasets.drawn.synthetic.draw", counted)
    with ThreadPoolExecutor() as pool:
        tables = list(pool.map(smoke, [tmp_path / "drawn"] * 2))
    pd.testing.assert_frame_equal(*tables)
    assert len(drawn) == len(set(drawn)) == len(tables[0])


def test_an_interrupted_drawing_goes_on(smoke_tree, tmp_path):
    whole, _ = smoke_tree
    halved = tmp_path / "halved"
    shutil.copytree(whole, halved)
    (halved / "complete.json").rename(halved / "incomplete.json")
    shutil.rmtree(halved / "zipper")
    for missing in (
        "pill/train/good/003.png",
        "pill/test/crack/000.png",
        "wood/ground_truth/cut/000_mask.png",
    ):
        (halved / missing).unlink()
    before = _times(halved)
    DATASETS["smoke"](halved)
    assert _contents(halved) == _contents(whole)
    assert not (halved / "incomplete.json").exists()
    again = {
        path
        for path, time in _times(halved).items()
        if before.get(path) not in (None, time)
    }
    halves = {
        "pill/ground_truth/crack/000_mask.png",
        "wood/test/cut/000.png",
    }  # a mask is drawn with its image
    assert {str(path.relative_to(halved)) for path in again} == halves


def _times(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}


def _contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}


@pytest.mark.parametrize("change", [{"version": -1}, {"seed": 7}, {"train": 60}])
@pytest.mark.parametrize("marker", ["complete.json", "incomplete.json"])
def test_another_drawing_in_the_folder_is_refused(smoke_tree, tmp_path, change, marker):
    content = json.loads((smoke_tree[0] / "complete.json").read_text())
    (tmp_path / marker).write_text(json.dumps(content | change))
    with pytest.raises(
        ValueError, match=f"{re.escape(str(tmp_path))}.*remove the folder"
    ):
        DATASETS["smoke"](tmp_path)


@pytest.mark.parametrize("broken", ["", "{", "[]"])
def test_a_broken_marker_is_refused(tmp_path, broken):
    (tmp_path / "complete.json").write_text(broken)
    with pytest.raises(
        ValueError, match=f"{re.escape(str(tmp_path))}.*remove the folder"
    ):
        DATASETS["smoke"](tmp_path)


def test_a_folder_of_yours_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"new or empty folder.*thesis\.txt"):
        DATASETS["synthetic"](tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "drawings").write_text("")
    with pytest.raises(NotADirectoryError, match=re.escape(str(tmp_path / "drawings"))):
        DATASETS["smoke"](tmp_path / "drawings")


def test_some_categories_can_be_read(smoke_tree):
    root, _ = smoke_tree
    assert set(DATASETS["smoke"](root, categories=["wood", "pill"])["category"]) == {
        "wood",
        "pill",
    }
