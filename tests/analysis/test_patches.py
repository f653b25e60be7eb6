"""A patch is shown where it lies, in the embedding and in its image; a click finds it."""

import builtins
import io

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from analysis import Scoring
from analysis.embedding import measure_embedding
from analysis.embedding.layouts import METHODS
from analysis.patches import PatchExplorer, explore_patches, patches_of
from cl_flow.data.images import read_image

SMALL = Scoring(size=32, sigma=1.0)


@pytest.fixture(scope="module")
def embedded(run):
    """The patches by two of their coordinates: no test here hangs on UMAP."""
    METHODS("coordinates")(lambda slices, **options: [s.points[:, :2] for s in slices])
    yield measure_embedding(run, method="coordinates", n_patches=8, n_neighbors=5)
    del METHODS["coordinates"]


@pytest.fixture
def explorer(run, embedded) -> PatchExplorer:
    return explore_patches(run, embedded, scoring=SMALL)


def frames(explorer: PatchExplorer) -> list[tuple[float, ...]]:
    """Left, top, width and height of the frame in every panel that has one."""
    patches = [
        patch
        for ax in explorer.figure().axes
        for patch in ax.patches
        if isinstance(patch, Rectangle)
    ]
    return [(*one.get_xy(), one.get_width(), one.get_height()) for one in patches]


def test_the_frame_lies_around_the_cell_that_the_patch_was_cut_from(
    explorer, embedded, run
):
    point = patches_of(embedded, 0).iloc[3]
    explorer.patch.value = 4
    paths = run.features.where(split="test").samples["image_path"]
    end = f"{point['category']}/test/{point['image']}"
    (path,) = [path for path in paths if path.endswith(end)]
    photograph = read_image(path)
    rows, columns = run.features.grids[point["level"]]
    row, column = divmod(point["cell"], columns)
    width, height = photograph.width / columns, photograph.height / rows
    expected = (column * width - 0.5, row * height - 0.5, width, height)
    assert frames(explorer) == [expected] * 3


def test_a_patch_of_a_task_not_learned_yet_has_no_map(explorer, embedded):
    explorer.patch.value = explorer.patch.max
    explorer.step.value = 0
    texts = [text.get_text() for ax in explorer.figure().axes for text in ax.texts]
    assert "not learned" in texts and len(frames(explorer)) == 2
    explorer.step.value = 1
    assert len(frames(explorer)) == 3


@pytest.mark.parametrize("at", [0, 17, 40])
def test_a_click_on_a_point_chooses_its_patch(explorer, embedded, at):
    for explorer.step.value in (1, 0):
        explorer.patch.value = 6
        xy = patches_of(embedded, explorer.step.value)[["x", "y"]].to_numpy()
        x, y = explorer._pixels[explorer.step.value][at]
        explorer._choose({"dataX": x, "dataY": y})
        chosen = xy[explorer.patch.value - 1]
        np.testing.assert_array_equal(chosen, xy[at])


def test_points_are_heard_where_they_are_drawn(explorer):
    """The ring is the only black thing around its point."""
    pixels = np.asarray(Image.open(io.BytesIO(explorer.picture.value)).convert("L"))
    x, y = explorer._pixels[explorer.step.value][explorer.patch.value - 1]
    rows, columns = np.indices(pixels.shape)
    distance = np.hypot(columns - x, rows - y)
    ring = pixels[(distance > 9) & (distance < 14)]
    assert np.percentile(ring, 10) < 60


def test_a_click_far_from_every_point_changes_nothing(explorer):
    explorer.patch.value = 6
    explorer._choose({"dataX": 900, "dataY": 300})
    assert explorer.patch.value == 6


def test_without_the_library_of_clicks_a_slider_chooses(run, embedded, monkeypatch):
    there = builtins.__import__

    def without(name, *rest, **options):
        if name == "ipyevents":
            raise ModuleNotFoundError(name)
        return there(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    explorer = explore_patches(run, embedded, scoring=SMALL)
    hints = [child.value for child in explorer.children[0].children]
    assert any("cl_flow[explore]" in str(hint) for hint in hints)
    before = explorer.picture.value
    explorer.patch.value = 9
    assert explorer.picture.value != before


def test_an_embedding_of_another_run_is_refused(run, embedded):
    with pytest.raises(ValueError, match=f"Expected an embedding of {run.name}"):
        explore_patches(run, embedded.assign(run="another"), scoring=SMALL)
