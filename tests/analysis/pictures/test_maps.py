"""Images are chosen by what was lost, and their maps are those that AUROC goes by."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import Scoring, evaluate, image_scores
from analysis.pictures import (
    measure_maps,
    pick_images,
    plot_maps,
    read_pictures,
)
from analysis.rows import matching
from analysis.scoring import scored

SMALL = Scoring(size=32, sigma=1.0)


# ---- which images


def planted() -> pd.DataFrame:
    """Two categories of five normal images, and defects with a fate each."""
    fates = {
        ("cup", "crack"): (9.0, 0.0),  # found, then lost
        ("cup", "stain"): (9.0, 9.0),
        ("cup", "dent"): (2.5, 2.5),  # in the midst of the normal ones
        ("bolt", "rust"): (9.0, 2.5),
        ("bolt", "bend"): (0.0, 9.0),  # never found at first
    }
    rows = []
    for step in (0, 1):
        for category in ("cup", "bolt"):
            for i in range(5):
                rows.append((step, category, "good", f"good/{i}.png", 0, float(i)))
        for (category, defect), values in fates.items():
            name = f"{defect}/0.png"
            rows.append((step, category, defect, name, 1, values[step]))
    columns = ["step", "category", "defect", "image", "label", "score"]
    keys = {"run": "r", "strategy": "finetune", "part": "product", "given": "category"}
    return pd.DataFrame(rows, columns=columns).assign(task=0, **keys)


def test_what_was_lost_most_is_one_image_of_each_category():
    picked = pick_images(planted(), "most forgotten", n=5)
    assert picked["name"].tolist() == ["cup/crack/0.png", "bolt/rust/0.png"]
    assert picked["learned"].tolist() == [1.0, 1.0]
    assert picked["final"].tolist() == pytest.approx([0.1, 0.6])
    of_one = pick_images(planted(), "most forgotten", n=2, category="cup")
    assert of_one["defect"].tolist() == ["crack", "stain"]


def test_the_hardest_were_never_told_from_normal_ones():
    picked = pick_images(planted(), "hardest", n=2)
    assert picked["defect"].tolist() == ["bend", "dent"]
    assert picked["learned"].tolist() == pytest.approx([0.1, 0.6])


def test_each_kind_of_defect_has_its_image():
    picked = pick_images(planted(), "by defect", n=99)
    assert picked["defect"].tolist() == ["bend", "rust", "crack", "dent", "stain"]


def test_ties_count_half_and_a_category_without_normal_images_is_left_out():
    scores = planted()
    lone = scores[(scores["category"] == "cup") | (scores["label"] == 1)]
    assert set(pick_images(lone, "by defect", n=9)["category"]) == {"cup"}
    with pytest.raises(ValueError, match="normal ones beside them; got none"):
        pick_images(scores[scores["label"] == 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": "prettiest"}, "most forgotten, hardest, by defect; got 'prettiest'"),
        ({"category": "plate"}, "category='plate'; there are: cup, bolt"),
        ({"part": "sum"}, "part='sum'; there are: product"),
        ({"n": 0}, r"n=…\) 1 or more"),
    ],
)
def test_wrong_choices_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        pick_images(planted(), **change)
    with pytest.raises(ValueError, match="the scores of one run; got r, s"):
        pick_images(pd.concat([planted(), planted().assign(run="s")]))


# ---- maps


def test_maps_are_those_of_the_scores_and_rarity_is_their_rank(run):
    told = measure_maps(run, image=["ant/blot/000.png", "dog"], scoring=SMALL)
    assert told.groupby("step")["name"].nunique().tolist() == [1, 10]
    scores = image_scores(run, scoring=SMALL)
    evaluated = evaluate(run, scoring=SMALL)
    for one in scored(run, SMALL, categories=["ant", "dog"]):
        maps = one.scores.maps("product").numpy()
        normal = maps[one.test.samples["label"] == 0].ravel()
        rows = matching(told, step=one.step, category=one.category)
        for row in rows.itertuples():
            at = one.test.samples["image_path"].str.endswith(row.name[4:])
            (own,) = maps[at]
            np.testing.assert_allclose(row.map, own.ravel(), rtol=1e-5)
            share = (normal >= own.ravel()[:, None]).mean(1)
            floor = 0.5 / len(normal)
            expected = -np.log10(np.maximum(share, floor))
            np.testing.assert_allclose(row.rarity, expected, rtol=1e-5)
            assert (row.height, row.width) == own.shape
    row = told.iloc[-1]
    same = {"step": row["step"], "category": row["category"], "part": "product"}
    known = matching(scores, **same).set_index("image")["score"]
    assert row["score"] == pytest.approx(known[row["name"].partition("/")[2]], rel=1e-5)
    (auroc,) = matching(evaluated, metric="image_auroc", **same)["value"]
    assert row["auroc"] == pytest.approx(auroc)


def test_parts_and_steps_are_chosen(run):
    told = measure_maps(
        run, image="ant", part=("logp", "entropy"), steps=[-1], scoring=SMALL
    )
    assert set(told["part"]) == {"logp", "entropy"} and set(told["step"]) == {1}
    routed = measure_maps(run, image="ant", given=None, steps=[1], scoring=SMALL)
    assert set(routed["given"]) == {"None"}


@pytest.mark.parametrize("function", [measure_maps, read_pictures])
def test_an_image_that_is_not_there_is_named(run, function):
    with pytest.raises(
        KeyError, match="Unknown image 'ant/blot/999.png'; known: ant, "
    ):
        function(run, image=["ant/blot/999.png"])


def test_pictures_are_the_photographs_with_their_masks(run):
    told = read_pictures(run, ["dog/blot/001.png", "ant/good/000.png"])
    assert told["name"].tolist() == ["ant/good/000.png", "dog/blot/001.png"]
    assert [image.shape for image in told["image"]] == [(32, 32, 3)] * 2
    assert [mask.any() for mask in told["mask"]] == [False, True]


# ---- drawn


def test_every_image_has_a_row_and_every_step_a_column(run):
    names = ["ant/blot/000.png", "dog/blot/000.png"]
    maps = measure_maps(run, image=names, scoring=SMALL)
    figure = plot_maps(maps, read_pictures(run, names))
    axes = np.array(figure.axes[: 2 * 3]).reshape(2, 3)
    drawn = np.array([[len(ax.images) for ax in row] for row in axes])
    assert drawn.tolist() == [[1, 1, 1], [1, 0, 1]], "the dog comes with task 2"
    assert [ax.get_title("center") for ax in axes[0, 1:]] == [
        "after task 1",
        "after task 2",
    ]
    assert "AUROC" in axes[0, 1].get_xlabel() and "ant\nblot" == axes[0, 0].get_xlabel()
    assert axes[1, 1].texts[0].get_text() == "not learned"
    limits = {ax.images[0].get_clim() for ax in axes[:, 1:].ravel() if ax.images}
    assert limits == {(0, 4)}
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "normal pixels that score lower"


@pytest.mark.parametrize(
    ("score", "told"), [(0.01234, "0.0123"), (71.64, "71.6"), (1437.2, "1,437")]
)
def test_a_score_is_a_number_to_three_digits(run, score, told):
    maps = measure_maps(run, image="ant", scoring=SMALL).assign(score=score)
    figure = plot_maps(maps, read_pictures(run, ["ant"]))
    assert figure.axes[1].get_xlabel().startswith(f"score {told}\n")
    plt.close(figure)


def test_scores_as_they_are_share_one_scale(run):
    maps = measure_maps(run, image="ant", part=("logp", "product"), scoring=SMALL)
    figure = plot_maps(maps, read_pictures(run, ["ant"]), value="map", cmap="gray")
    shown = [ax.images[0] for ax in figure.axes[:-1] if ax.images]
    photographs = shown[:: 1 + 2]
    of_maps = [image for image in shown if image not in photographs]
    assert len({image.get_clim() for image in of_maps}) == 1
    assert {image.get_cmap().name for image in of_maps} == {"gray"}
    plt.close(figure)


def test_wrong_tables_are_named(run):
    maps = measure_maps(run, image="ant", scoring=SMALL)
    pictures = read_pictures(run, ["ant"])
    with pytest.raises(ValueError, match="value='rarity' or 'map'; got 'auroc'"):
        plot_maps(maps, pictures, value="auroc")
    with pytest.raises(ValueError, match="pictures of every map; got none of ant/"):
        plot_maps(maps, pictures[:1])
    with pytest.raises(ValueError, match="the maps of one run"):
        plot_maps(pd.concat([maps, maps.assign(run="other")]), pictures)
    with pytest.raises(ValueError, match=r"plot_maps\(maps=…\).* with a column 'name'"):
        plot_maps(evaluate(run, scoring=SMALL), pictures)
