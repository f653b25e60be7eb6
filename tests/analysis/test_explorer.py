"""The explorer shows what the tables say of the image, step and part that are chosen."""

import asyncio
import dataclasses
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from analysis import METRICS, Scoring, chosen, image_scores
from analysis.explorer import Explorer, _names, explore

SMALL = Scoring(metric="image_auroc", part=("logp", "product"), size=32, sigma=1.0)


@pytest.fixture(scope="module")
def explorer(run) -> Explorer:
    return explore(run, n=2, scoring=SMALL)


def pixels(explorer: Explorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.picture.value)))


def test_it_shows_a_picture_before_anything_is_touched(explorer):
    assert pixels(explorer).std() > 10 and not plt.get_fignums()


def test_categories_offer_their_images_and_images_the_steps_that_know_them(
    explorer, run
):
    for category in explorer.category.options:
        explorer.category.value = category
        assert all(name.startswith(category) for _, name in explorer.image.options)
        task = next(i for i, names in enumerate(run.tasks) if category in names)
        steps = list(range(task, len(run)))
        assert list(explorer.step.options) == [(str(s + 1), s) for s in steps]


def test_a_step_and_a_part_that_are_chosen_change_the_picture(explorer, run):
    explorer.category.value = run.tasks[0][0]
    explorer.step.value = 0
    before = pixels(explorer)
    explorer.step.value = 1
    after = pixels(explorer)
    assert not np.array_equal(before, after)
    explorer.part.value = "logp"
    assert not np.array_equal(after, pixels(explorer))
    explorer.part.value = "product"
    assert np.array_equal(after, pixels(explorer))


def test_the_step_stays_when_another_image_knows_it(explorer, run):
    explorer.category.value = run.tasks[0][0]
    explorer.step.value = 0
    explorer.image.value = explorer.image.options[-1][1]
    assert explorer.step.value == 0


def test_the_figure_names_what_is_chosen(explorer, run):
    category = run.tasks[0][1]
    explorer.category.value = category
    explorer.step.value = 1
    axes = explorer.figure().axes
    assert f"{category}, after task 2" in [
        ax.get_title(loc) for ax in axes for loc in ("left", "center")
    ]


def caption(explorer: Explorer) -> str:
    return " ".join(text.get_text() for text in explorer.figure().findobj(Text))


def test_a_metric_of_ones_own_stands_in_the_caption(run, monkeypatch):
    def spread(labels: np.ndarray, scores: np.ndarray) -> float:
        return float(np.ptp(scores))

    monkeypatch.setitem(METRICS, "image_spread", spread)
    scoring = dataclasses.replace(SMALL, metric=("image_auroc", "image_spread"))
    explorer = explore(run, image=[run.tasks[0][0]], scoring=scoring)
    rows = image_scores(run, scoring=scoring)
    for explorer.step.value in (0, 1):
        own = chosen(
            rows, category=run.tasks[0][0], step=explorer.step.value, part="product"
        )
        assert f"image spread {np.ptp(own['score']):.3f}" in caption(explorer)


def test_a_metric_that_is_not_defined_is_left_out(explorer, monkeypatch):
    assert "image AUROC" in caption(explorer)
    undefined = explorer._evaluated.assign(value=np.nan)
    monkeypatch.setattr(explorer, "_evaluated", undefined)
    assert "image AUROC" not in caption(explorer)
    assert "nan" not in caption(explorer)


def test_a_caption_of_many_metrics_stays_within_the_picture(run, monkeypatch):
    names = [f"image_of_a_rather_long_name_{i}" for i in range(5)]
    for name in names:
        monkeypatch.setitem(METRICS, name, lambda labels, scores: 0.5)
    scoring = dataclasses.replace(SMALL, metric=names)
    figure = explore(run, image=[run.tasks[0][0]], scoring=scoring).figure()
    FigureCanvasAgg(figure).draw()
    (text,) = [one for one in figure.findobj(Text) if "long name" in one.get_text()]
    assert text.get_text().count("0.500") == len(names)
    box = text.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0


def test_while_a_kernel_is_idle_the_other_steps_are_drawn(run):
    async def look() -> tuple[int, int]:
        fresh = explore(run, image=[run.tasks[0][0]], scoring=SMALL)
        at_first = fresh._png.cache_info().currsize
        await asyncio.sleep(0)
        while fresh._png.cache_info().currsize < len(fresh.step.options):
            await asyncio.sleep(0.05)
        return at_first, fresh._png.cache_info().currsize

    at_first, later = asyncio.run(asyncio.wait_for(look(), 60))
    assert at_first < later


def test_a_category_whose_test_images_have_one_label_is_shown_too(run):
    scores = image_scores(run, scoring=SMALL)
    first = run.tasks[0][0]
    alone = scores[(scores["category"] != first) | (scores["label"] == 0)]
    names = _names(run, alone, 2, SMALL)
    assert sum(name.startswith(f"{first}/good") for name in names) == 2
    assert len(names) == 2 * len(run.features.categories)


def test_several_runs_and_what_is_given_may_be_chosen(run):
    scoring = Scoring(metric="image_auroc", part="product", given=("category", None))
    both = explore(run, image=[run.tasks[0][0]], scoring=scoring)
    assert [value for _, value in both.given.options] == ["category", "None"]
    before = both.picture.value
    both.given.value = "None"
    assert both.picture.value and before


def test_wrong_input_is_named(run):
    with pytest.raises(KeyError, match="Unknown image 'gnu'"):
        explore(run, image=["gnu"], scoring=SMALL)
    with pytest.raises((TypeError, ValueError), match="Expected"):
        explore("finetune")
