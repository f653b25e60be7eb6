"""Which categories arrive when, and that no test image ever does."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from cl_flow.data.features import Features
from cl_flow.data.streams import StreamConfig, Task, make_stream, read_order, task_order

NAMES = [f"c{i:02d}" for i in range(15)]


@pytest.fixture
def features() -> Features:
    rows = [
        (name, split, label)
        for name in NAMES
        for split, label in (("train", 0), ("test", 0), ("test", 1))
    ]
    samples = pd.DataFrame(rows, columns=["category", "split", "label"])
    level = np.arange(len(rows) * 4 * 2, dtype=np.float16).reshape(len(rows), 4, 2)
    return Features(samples, (level,), ((2, 2),), np.arange(len(rows)))


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        (3, [3] * 5),
        (1, [1] * 15),
        ((10, 5), [10, 5]),
        ((14, 1), [14, 1]),
        (4, [4, 4, 4, 3]),
        (15, [15]),
        (99, [15]),
    ],
)
def test_splits(split, sizes):
    assert [
        len(names) for names in task_order(NAMES, StreamConfig(split=split))
    ] == sizes


def test_orders():
    assert task_order(reversed(NAMES))[0] == ("c00", "c01", "c02")
    drawn = [
        task_order(NAMES, StreamConfig(order="random", seed=seed)) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(name for task in drawn[0] for name in task) == NAMES
    assert task_order(NAMES, StreamConfig(order=tuple(reversed(NAMES))))[0] == (
        "c14",
        "c13",
        "c12",
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StreamConfig(split=(10, 4)), "split of 15 categories.*14 categories"),
        (StreamConfig(split=()), "split of 15"),
        (
            StreamConfig(order="alphabetic"),
            "Unknown order 'alphabetic'; known: alphabetical",
        ),
        (StreamConfig(order=("c00",)), "names each category once"),
        (StreamConfig(without=("c99",)), "leave out some of c00, .*got .'c99'"),
        (StreamConfig(without=tuple(NAMES)), "leave out some of c00, .*not all"),
    ],
)
def test_wrong_streams_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        task_order(NAMES, config)


def test_what_is_left_out_moves_no_other_category():
    config = StreamConfig(order="random", seed=3)
    whole = task_order(NAMES, config)
    assert task_order(NAMES, dataclasses.replace(config, without=whole[0])) == whole[1:]
    one = task_order(NAMES, dataclasses.replace(config, without=whole[2][:1]))
    assert one == [*whole[:2], whole[2][1:], *whole[3:]]


def test_tasks_hold_normal_training_images_only(features):
    stream = make_stream(features)
    assert [task.index for task in stream] == list(range(5))
    for task in stream:
        assert (task.features.samples["split"] == "train").all()
        assert set(task.features.samples["category"]) == set(task.categories)
        (values,) = task.features.read()
        assert np.array_equal(values.numpy(), features.levels[0][task.features.rows])


def test_a_task_refuses_test_images_and_missing_categories(features):
    with pytest.raises(ValueError, match="normal training images only"):
        Task(0, ("c00",), features.where(category="c00"))
    with pytest.raises(ValueError, match="none of c01"):
        Task(0, ("c00", "c01"), features.where(category="c00", split="train"))


# ---- the order that a file fixes


@pytest.mark.parametrize(
    "text",
    [
        "wood tile\ncable\n",
        "wood, tile\n\n  cable",
        "# first the textures\nwood tile  # both\ncable",
    ],
)
def test_a_file_fixes_tasks_and_their_order(tmp_path, text):
    path = tmp_path / "order.txt"
    path.write_text(text)
    stream = read_order(path)
    assert stream == StreamConfig(split=(2, 1), order=("wood", "tile", "cable"))
    assert task_order({"cable", "tile", "wood"}, stream) == [
        ("wood", "tile"),
        ("cable",),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wood tile\nwood", "each named once; got wood twice"),
        ("# nothing yet\n", "got none"),
    ],
)
def test_a_file_without_an_order_is_refused(tmp_path, text, message):
    path = tmp_path / "order.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_order(path)
