"""Streams: categories that arrive together, task after task, or mixed.

A task holds the training features of its categories.
"""

__all__ = [
    "StreamConfig",
    "Task",
    "make_stream",
    "read_order",
    "task_order",
    "windows",
]

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from cl_flow.calls import checked, sentence_on
from cl_flow.data.features import Features
from cl_flow.data.orders import ORDERS, named_split
from cl_flow.identity import settle

NORMAL = NormalDist()


@dataclass(frozen=True)
class StreamConfig:
    """In which order categories arrive, and how many at a time.

    References:
        Encoders and ensembles for task-free continual learning (Shanahan et al., 2021),
        where the share of each class rises and falls as a Gaussian
        https://arxiv.org/abs/2105.13327
        Learning to Prompt for Continual Learning (Wang et al., 2022), whose "Gaussian
        scheduled" stream is one
        https://arxiv.org/abs/2112.08654

    Args:
        split: Categories per task: a number that repeats (3 is 3-3-3-3-3 for 15), one
            number a task ((10, 5), (14, 1)), or the name of such a split (`"14-1"`,
            `"10-1×5"`; `cl_flow.data.orders.SPLITS`), which becomes its numbers.
        order: A name in `cl_flow.data.orders.ORDERS` that needs no scores, or the
            categories themselves, all of them, in order.
        seed: Seeds the random order, and which image of a category comes when it is
            blurred; nothing else depends on it.
        without: Categories that never arrive. The others keep their tasks, and the
            features their whitening, which is that of the whole stream; a task left
            empty falls out.
        blur: Standard deviation, in tasks, of when an image of a category comes, about
            the middle of the category's own task; 0 are tasks with boundaries. Above
            it there are none: each window as long as a task holds images of whatever
            categories (`windows`), and strategies that need boundaries refuse.

    Example:
        >>> task_order(["ant", "bee", "cat", "dog", "elk"], StreamConfig(split=(3, 2)))
        [('ant', 'bee', 'cat'), ('dog', 'elk')]
        >>> mixed = make_stream(run.features, StreamConfig(split=2, blur=0.5))
        >>> [(len(task.categories), len(task.features)) for task in mixed]
        [(4, 12), (2, 12), (0, 12)]
    """

    split: int | str | tuple[int, ...] = 3
    order: str | tuple[str, ...] = "alphabetical"
    seed: int = 0
    without: tuple[str, ...] = ()
    blur: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.split, str):
            object.__setattr__(self, "split", named_split(self.split))
        settle(self, split=(1, math.inf), blur=(0, math.inf))


@dataclass(frozen=True)
class Task:
    """Categories that arrive together, with their normal training images.

    There is no test image to leak.

    Args:
        index: Position in the stream, from 0.
        categories: Names in order of arrival; where tasks have no boundaries, of those
            that come for the first time, which may be none.
        features: Normal training images of these categories; if `mixed`, of earlier
            ones, too.
        mixed: Whether images of a category come in several tasks
            (`StreamConfig.blur`).

    Example:
        >>> first, second = run.stream()
        >>> first.index, first.categories
        (0, ('ant', 'bee', 'cat'))
    """

    index: int
    categories: tuple[str, ...]
    features: Features
    mixed: bool = False

    def __post_init__(self) -> None:
        samples = self.features.samples
        if (samples["split"] != "train").any() or samples["label"].any():
            raise ValueError(
                "Expected normal training images only; got test or anomalous ones "
                "among them."
            )
        empty = [
            name for name in self.categories if not (samples["category"] == name).any()
        ]
        if empty:
            raise ValueError(
                "Expected training images of every category; got none of "
                f"{', '.join(empty)}."
            )

    def __repr__(self) -> str:
        names = ", ".join(self.categories) or "no new category"
        return f"Task({self.index}: {names}; {len(self.features)} images)"


@checked
def task_order(
    categories: Iterable[str], config: StreamConfig | None = None
) -> list[tuple[str, ...]]:
    """The categories of each task.

    Raises:
        ValueError: The order does not name each category once, the split does not add
            up to all of them, or what is left out is not among them or all there is.

    Example:
        >>> task_order(["tile", "wood", "cable"], StreamConfig(split=(2, 1)))
        [('cable', 'tile'), ('wood',)]
    """
    config = config or StreamConfig()
    names = _ordered(sorted(set(categories)), config)
    split = config.split
    sizes = (
        _repeated(split, len(names))
        if isinstance(split, int)
        else tuple(map(int, split))
    )
    if sum(sizes) != len(names) or min(sizes, default=0) < 1:
        raise ValueError(
            f"Expected a split of {len(names)} categories into tasks; got {split} = "
            f"{sum(sizes)} categories."
        )
    stops = np.cumsum(sizes)
    return _left(
        [tuple(names[stop - size : stop]) for size, stop in zip(sizes, stops)],
        config.without,
    )


@checked
def read_order(path: str | Path) -> StreamConfig:
    """Stream that a text file fixes: a line for each task, naming its categories.

    Names stand apart by blanks or commas; what follows a # is a comment.

    Raises:
        ValueError: No category, or one that is named twice.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    named = [line.partition("#")[0].replace(",", " ").split() for line in lines]
    tasks = [names for names in named if names]
    order = tuple(name for names in tasks for name in names)
    twice = sorted({name for name in order if order.count(name) > 1})
    if twice or not order:
        raise ValueError(
            f"Expected a line of categories for each task in {path}, each named once; "
            f"got {', '.join(twice) + ' twice' if twice else 'none'}."
        )
    return StreamConfig(split=tuple(map(len, tasks)), order=order)


@checked
def make_stream(features: Features, config: StreamConfig | None = None) -> list[Task]:
    """Cut features into tasks; only normal training images enter.

    Raises:
        ValueError: As `task_order` and `windows`.

    Example:
        >>> tasks = make_stream(run.features, StreamConfig(split=2))
        >>> [len(task.categories) for task in tasks]
        [2, 2, 2]
    """
    config = config or StreamConfig()
    order = task_order(features.categories, config)
    when = windows(features.samples, config)
    categories = features.samples["category"].to_numpy()
    first = {
        name: min(when[(categories == name) & (when >= 0)], default=task)
        for task, names in enumerate(order)
        for name in names
    }
    return [
        Task(
            i,
            tuple(name for name, arrival in first.items() if arrival == i),
            features.take(np.flatnonzero(when == i)),
            mixed=config.blur > 0,
        )
        for i in range(len(order))
    ]


@checked
def windows(samples: pd.DataFrame, config: StreamConfig | None = None) -> np.ndarray:
    r"""Task, or window of a stream without boundaries, that each image comes in.

    An image of task j comes at the time $j + 1/2 + \sigma\,\Phi^{-1}((r + 1/2)/n)$,
    with σ the blur and r its rank among the n normal training images of its category,
    shuffled by the stream's seed; what would come before the first task or after the
    last comes in these. So half of a category has come by the middle of its own task,
    and something of each by its end.

    Args:
        samples: One row per image.
        config: Of the stream.

    Returns:
        Indices of tasks (images,), −1 for what never comes: test images, anomalies and
        categories left out.

    Raises:
        ValueError: As `task_order`; a window of a stream without boundaries in which no
            image comes.

    Example:
        >>> when = windows(run.features.samples, StreamConfig(split=2))
        >>> sorted(set(when.tolist()))
        [-1, 0, 1, 2]
    """
    config = config or StreamConfig()
    order = task_order(samples["category"], config)
    comes = ((samples["split"] == "train") & (samples["label"] == 0)).to_numpy()
    categories = samples["category"].to_numpy()
    out = np.full(len(samples), -1)
    for task, names in enumerate(order):
        for name in names:
            own = np.flatnonzero(comes & (categories == name))
            rng = np.random.default_rng([config.seed, *name.encode()])
            shares = (rng.permutation(len(own)) + 0.5) / len(own)
            late = [config.blur * NORMAL.inv_cdf(share) for share in shares]
            times = np.floor(task + 0.5 + np.array(late))
            out[own] = np.clip(times, 0, len(order) - 1)
    empty = sorted(set(range(len(order))) - set(out.tolist()))
    if config.blur and empty:
        raise ValueError(
            f"Expected images in every window of a stream of {len(order)} tasks with "
            f"blur={config.blur:g}; got none in task {empty[0] + 1}. A smaller blur, "
            "or more images of each category, fills it."
        )
    return out


def _ordered(names: list[str], config: StreamConfig) -> list[str]:
    if isinstance(config.order, str):
        if config.order not in ORDERS:
            known = sentence_on("order", config.order, ORDERS)
            raise ValueError(f"{known} A tuple of category names is one, too.")
        return list(ORDERS[config.order](names, seed=config.seed))
    if sorted(config.order) != names:
        raise ValueError(
            f"Expected an order that names each category once: {', '.join(names)}; got "
            f"{config.order}."
        )
    return list(config.order)


def _left(
    tasks: list[tuple[str, ...]], without: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The tasks less some categories, less those that this leaves empty."""
    names = {name for task in tasks for name in task}
    if not set(without) < names:
        raise ValueError(
            f"Expected to leave out some of {', '.join(sorted(names))}, not all; got "
            f"{without}."
        )
    left = [tuple(name for name in task if name not in without) for task in tasks]
    return [task for task in left if task]


def _repeated(size: int, total: int) -> tuple[int, ...]:
    """As many full tasks as fit, then one with the rest."""
    return (size,) * (total // size) + ((total % size,) if total % size else ())
