"""Named orders and splits: each is an order of all categories, and a split of them."""

import pytest

from cl_flow.data.orders import ORDERS, SPLITS, TEXTURES, named_split, read_scores
from cl_flow.data.streams import StreamConfig, task_order

MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile "
    "toothbrush transistor wood zipper"
).split()
SCORES = {name: (7 * i % 15) / 15 for i, name in enumerate(MVTEC)}


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_has_every_category_once_whatever_order_they_come_in(order):
    ordered = ORDERS[order](MVTEC, seed=2, scores=SCORES)
    assert sorted(ordered) == MVTEC
    assert ordered == ORDERS[order](list(reversed(MVTEC)), seed=2, scores=SCORES)
    again = task_order(MVTEC, StreamConfig(order=ordered))
    assert [name for task in again for name in task] == list(ordered)


@pytest.mark.parametrize("order", ["alphabetical", "random", "textures_first"])
def test_an_order_without_scores_is_one_of_a_stream(order):
    config = StreamConfig(split=5, order=order, seed=3)
    names = [name for task in task_order(MVTEC, config) for name in task]
    assert names == list(ORDERS[order](MVTEC, seed=3))


def test_textures_come_first():
    first, second, *_ = task_order(MVTEC, StreamConfig(split=5, order="textures_first"))
    assert first == TEXTURES and second[0] == "bottle"
    with pytest.raises(ValueError, match="carpet, grid.*among the categories.*got ant"):
        task_order(["ant", "bee"], StreamConfig(order="textures_first"))


def test_easy_and_hard_are_each_others_way_back():
    easy = ORDERS["easy_to_hard"](MVTEC, scores=SCORES)
    hard = ORDERS["hard_to_easy"](MVTEC, scores=SCORES)
    values = [SCORES[name] for name in easy]
    assert values == sorted(values, reverse=True) and hard == tuple(reversed(easy))
    equal = dict.fromkeys(MVTEC, 0.5)
    assert ORDERS["easy_to_hard"](MVTEC, scores=equal) == tuple(MVTEC)


@pytest.mark.parametrize("order", ["easy_to_hard", "hard_to_easy"])
@pytest.mark.parametrize(
    "scores", [None, {"bottle": 0.9}, {**SCORES, "wood": float("nan")}]
)
def test_a_category_without_a_score_is_named_with_the_way_out(order, scores):
    with pytest.raises(
        ValueError, match=rf"score of each category.*order {order!r}.*ORDERS"
    ):
        ORDERS[order](MVTEC, scores=scores)
    with pytest.raises(ValueError, match="A stream holds the names alone"):
        task_order(MVTEC, StreamConfig(order=order))


@pytest.mark.parametrize(("name", "sizes"), [
    ("14-1", (14, 1)),
    ("10-5", (10, 5)),
    ("10-1×5", (10, 1, 1, 1, 1, 1)),
    ("10-1x5", (10, 1, 1, 1, 1, 1)),
    ("3×5", (3,) * 5),
    ("1×15", (1,) * 15),
    ("3-3×4", (3,) * 5),
    ("5", (5,)),
])  # fmt: skip
def test_a_split_is_its_numbers_by_name(name, sizes):
    assert named_split(name) == sizes
    assert StreamConfig(split=name) == StreamConfig(split=sizes)


@pytest.mark.parametrize("name", SPLITS)
def test_the_named_splits_are_of_fifteen_categories(name):
    tasks = task_order(MVTEC, StreamConfig(split=name))
    assert sum(map(len, tasks)) == 15


@pytest.mark.parametrize("name", ["", "14-", "14/1", "0-15", "3×0", "a", "-1"])
def test_what_is_no_split_is_refused(name):
    with pytest.raises(ValueError, match="Unknown split .*; known: 14-1, 10-5"):
        StreamConfig(split=name)


def test_scores_are_read_from_a_file(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("category,image_auroc\nbottle, 0.9\ncable,0.8\n\n")
    assert read_scores(path) == {"bottle": 0.9, "cable": 0.8}
    path.write_text("bottle,0.9\ncable\n")
    with pytest.raises(ValueError, match="category,score .*got 'cable' in line 2"):
        read_scores(path)
    path.write_text("category,score\n")
    with pytest.raises(ValueError, match="category,score .*got none"):
        read_scores(path)
