"""A stream without boundaries: each image comes once, near its category's own task."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cl_flow.data.features import Features
from cl_flow.data.streams import (
    StreamConfig,
    Task,
    make_stream,
    task_order,
    windows,
)

NAMES = [f"c{i:02d}" for i in range(15)]
CONFIGS = [
    StreamConfig(blur=0.5),
    StreamConfig(split=1, blur=0.2),
    StreamConfig(split=(10, 5), order="random", seed=3, blur=1.0),
    StreamConfig(split=2, order=tuple(reversed(NAMES)), blur=2.0),
    StreamConfig(blur=1.0, without=("c00", "c04")),
]


def table(n_training: int = 12) -> pd.DataFrame:
    """Training images of each category in turn, test images among them."""
    rows = [
        (name, split, label)
        for i in range(n_training)
        for name in NAMES
        for split, label in [("train", 0), ("test", i % 2)]
    ]
    return pd.DataFrame(rows, columns=["category", "split", "label"])


def features_of(samples: pd.DataFrame) -> Features:
    level = np.arange(len(samples) * 8, dtype=np.float32).reshape(-1, 4, 2)
    return Features(samples, (level,), ((2, 2),), np.arange(len(samples)))


def own_tasks(config: StreamConfig) -> dict[str, int]:
    order = task_order(NAMES, config)
    return {name: task for task, names in enumerate(order) for name in names}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("n", [7, 12])
def test_images_come_at_the_quantiles_of_a_gaussian_about_their_task(config, n):
    samples = table(n)
    when = windows(samples, config)
    tasks = own_tasks(config)
    last = max(tasks.values())
    shares = (np.arange(n) + 0.5) / n
    for name, task in tasks.items():
        own = np.sort(
            when[(samples["category"] == name) & (samples["split"] == "train")]
        )
        times = norm.ppf(shares, loc=task + 0.5, scale=config.blur)
        assert own.tolist() == np.clip(np.floor(times), 0, last).tolist()
        assert own[0] <= task, "something of it has come by the end of its own task"
        assert (own <= task).mean() >= 0.5, "and half of it"
    never = (samples["split"] == "test") | ~samples["category"].isin(list(tasks))
    assert (when[never] == -1).all() and (when[~never] >= 0).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_image_is_in_one_window_and_every_category_new_in_one(config):
    features = features_of(table())
    stream = make_stream(features, config)
    tasks = own_tasks(config)
    assert [task.index for task in stream] == list(range(max(tasks.values()) + 1))
    assert all(task.mixed for task in stream)
    rows = np.concatenate([task.features.rows for task in stream])
    samples = features.samples
    comes = (samples["split"] == "train") & samples["category"].isin(list(tasks))
    assert sorted(rows) == np.flatnonzero(comes).tolist()
    known: list[str] = []
    for task in stream:
        known += task.categories
        assert set(task.features.categories) <= set(known)
        assert set(task.categories) <= set(task.features.categories)
        assert {name for name, own in tasks.items() if own <= task.index} <= set(known)
    assert sorted(known) == sorted(tasks)


def test_without_blur_tasks_are_what_they_were():
    features = features_of(table())
    for config in (StreamConfig(), StreamConfig(split=4, order="random", seed=1)):
        training = features.where(split="train", label=0)
        for task, names in zip(
            make_stream(features, config), task_order(NAMES, config)
        ):
            own = training.where(category=names)
            assert task.categories == names and not task.mixed
            assert task.features.rows.tolist() == own.rows.tolist()
            assert task.features.samples.equals(own.samples)


def test_which_image_comes_when_is_its_categorys_own_and_the_seeds():
    samples = table()
    config = StreamConfig(blur=0.5)
    when = windows(samples, config)
    assert when.tolist() == windows(samples, config).tolist()
    other = windows(samples, dataclasses.replace(config, seed=1))
    assert other.tolist() != when.tolist()
    assert np.bincount(other + 1).tolist() == np.bincount(when + 1).tolist()
    rest = samples["category"] != "c01"
    without = windows(samples, dataclasses.replace(config, without=("c01",)))
    assert without[rest].tolist() == when[rest].tolist()


def test_a_window_may_bring_no_category_but_images():
    last = make_stream(features_of(table()), StreamConfig(blur=1.0))[-1]
    assert last.categories == () and "4: no new category; " in repr(last)
    assert len(last.features.categories) > 3


@pytest.mark.parametrize("blur", [-0.1, float("nan"), float("inf")])
def test_a_blur_that_cannot_be_is_refused(blur):
    with pytest.raises(ValueError, match=r"StreamConfig\(blur=…\) 0 or more; got"):
        StreamConfig(blur=blur)


def test_a_window_without_images_is_refused():
    samples = table(2)
    config = StreamConfig(split=15, blur=9.0)
    assert len(make_stream(features_of(samples), config)) == 1
    with pytest.raises(ValueError, match="every window of a stream of 5 .*in task 2"):
        windows(samples, StreamConfig(blur=9.0))


def test_a_category_without_images_is_named_as_ever():
    samples = table()
    there = (samples["category"] != "c05") | (samples["split"] == "test")
    for blur in (0.0, 0.5):
        with pytest.raises(ValueError, match="of every category; got none of c05"):
            make_stream(features_of(samples[there]), StreamConfig(blur=blur))


def test_a_task_without_a_category_still_holds_training_images_only():
    with pytest.raises(ValueError, match="normal training images only"):
        Task(1, (), features_of(table()), mixed=True)
