"""Orders in which categories arrive, and splits into tasks, by their names."""

__all__ = ["ORDERS", "SPLITS", "TEXTURES", "named_split", "read_scores"]

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cl_flow.calls import checked, sentence_on
from cl_flow.registry import Registry

ORDERS: Registry = Registry("order")

# Of MVTec AD, and of the drawings that are named after it.
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")

# Splits that people compare: categories of the first task, then of those that follow.
SPLITS = ("14-1", "10-5", "10-1×5", "3×5", "1×15")
PART = re.compile(r"(\d+)(?:[×x](\d+))?")


@checked
def named_split(name: str) -> tuple[int, ...]:
    """Categories of each task of a split, by its name: parts joined by hyphens.

    `n` is one task of n categories, `n×k` (or `nxk`) k such tasks.

    Raises:
        ValueError: A name that says no such thing.

    Example:
        >>> named_split("10-1×5"), named_split("14-1")
        ((10, 1, 1, 1, 1, 1), (14, 1))
    """
    parts = [PART.fullmatch(part) for part in name.split("-")]
    sizes = [(int(p[1]), int(p[2] or 1)) for p in parts if p is not None]
    if None in parts or min(map(min, sizes)) < 1:
        raise ValueError(sentence_on("split", name, SPLITS))
    return tuple(size for size, n in sizes for _ in range(n))


@ORDERS
@checked
def alphabetical(
    names: Iterable[str],
    *,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Categories by their names.

    Args:
        names: All categories.
        seed: Of orders that are drawn.
        scores: Of orders that need them.
    """
    return tuple(sorted(names))


@ORDERS
@checked
def random(
    names: Iterable[str],
    *,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Categories as a seed draws them.

    Args:
        names: All categories.
        seed: Of the order.
        scores: Of orders that need them.
    """
    known = sorted(names)
    drawn = np.random.default_rng(seed).permutation(len(known))
    return tuple(known[i] for i in drawn)


@ORDERS
@checked
def textures_first(
    names: Iterable[str],
    *,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Textures, then objects, each by their names.

    Args:
        names: All categories.
        seed: Of orders that are drawn.
        scores: Of orders that need them.

    Raises:
        ValueError: None of the names is in `TEXTURES`.
    """
    known = sorted(names)
    if set(known).isdisjoint(TEXTURES):
        raise ValueError(
            f"Expected some of {', '.join(TEXTURES)} among the categories, which are "
            f"the textures; got {', '.join(known)}. Name the order yourself: "
            "StreamConfig(order=(…))."
        )
    return tuple(sorted(known, key=lambda name: name not in TEXTURES))


@ORDERS
@checked
def easy_to_hard(
    names: Iterable[str],
    *,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Categories from the highest score to the lowest; of equal ones by their names.

    Args:
        names: All categories.
        seed: Of orders that are drawn.
        scores: Of each category, such as its AUROC under joint training: a mapping,
            `read_scores(file)`, or `analysis.detection.category_scores(table)`.

    Raises:
        ValueError: A category without a score.
    """
    return _by_score(names, scores, "easy_to_hard", sign=-1)


@ORDERS
@checked
def hard_to_easy(
    names: Iterable[str],
    *,
    seed: int = 0,
    scores: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Categories from the lowest score to the highest; of equal ones by their names.

    Args:
        names: All categories.
        seed: Of orders that are drawn.
        scores: As in `easy_to_hard`.

    Raises:
        ValueError: A category without a score.
    """
    return _by_score(names, scores, "hard_to_easy", sign=1)


def _by_score(
    names: Iterable[str], scores: Mapping[str, float] | None, order: str, *, sign: int
) -> tuple[str, ...]:
    known = sorted(names)
    told = scores or {}
    missing = [name for name in known if not np.isfinite(told.get(name, np.nan))]
    if missing:
        raise ValueError(
            f"Expected a score of each category for the order {order!r}; got none of "
            f"{', '.join(missing)}. A stream holds the names alone: "
            f"StreamConfig(order=ORDERS[{order!r}](names, scores=…))."
        )
    return tuple(sorted(known, key=lambda name: sign * told[name]))


@checked
def read_scores(path: str | Path) -> dict[str, float]:
    """Scores of categories from a CSV file: a line `category,score` for each.

    A first line of headings is passed over.

    Raises:
        ValueError: A line that is none such, or none at all.
    """
    scores = {}
    with open(path, encoding="utf-8", newline="") as file:
        for number, cells in enumerate(csv.reader(file)):
            try:
                name, score = cells
                scores[name.strip()] = float(score)
            except ValueError as error:
                if cells and number:
                    raise ValueError(
                        f"Expected lines category,score in {path}; got "
                        f"{','.join(cells)!r} in line {number + 1}."
                    ) from error
    if not scores:
        raise ValueError(f"Expected lines category,score in {path}; got none.")
    return scores
