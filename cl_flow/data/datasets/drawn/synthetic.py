"""Drawn datasets in the image of MVTec AD.

Fifteen categories, defects with exact masks, the same bytes every time.
"""

__all__ = ["SIZES", "Sizes", "smoke", "synthetic"]

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.drawn.categories import CATEGORIES
from cl_flow.data.datasets.drawn.drawing import VERSION, draw
from cl_flow.data.datasets.folder import read_tree
from cl_flow.paths import atomic
from cl_flow.progress import Bar


@dataclass(frozen=True)
class Sizes:
    """Images per category.

    Training normals, test normals, and anomalous test images over all defects.
    """

    train: int
    normal: int
    anomalous: int


SIZES = {
    "synthetic": Sizes(train=80, normal=20, anomalous=24),
    "smoke": Sizes(train=8, normal=4, anomalous=6),
}


@DATASETS
def synthetic(
    root: str | Path, *, categories: Iterable[str] | None = None
) -> pd.DataFrame:
    """Fifteen drawn categories, 1860 images of 128 by 128 pixels.

    Drawn on the first call, then read.

    Args:
        root: Where they are or shall be drawn: a new or empty folder, or one that a
            call left unfinished.
        categories: Names of the categories to read; default all.

    Raises:
        ValueError: If the folder holds something else, or drawings of another version.
        NotADirectoryError: If the root is a file.
    """
    _complete(Path(root).expanduser(), SIZES["synthetic"])
    return read_tree(root, dataset="synthetic", categories=categories)


@DATASETS
def smoke(root: str | Path, *, categories: Iterable[str] | None = None) -> pd.DataFrame:
    """Read or draw a handful of images of each category.

    270 in all, for a trial in seconds.

    Args:
        root: Where they are or shall be drawn: a new or empty folder, or one that a
            call left unfinished.
        categories: Names of the categories to read; default all.

    Raises:
        ValueError: If the folder holds something else, or drawings of another version.
        NotADirectoryError: If the root is a file.
    """
    _complete(Path(root).expanduser(), SIZES["smoke"])
    return read_tree(root, dataset="smoke", categories=categories)


def _complete(root: Path, sizes: Sizes, *, seed: int = 0) -> None:
    """Draw what is missing under `root`, and mark the folder complete."""
    marker = root / "complete.json"
    begun = root / "incomplete.json"
    stamp = {
        "drawing": "cl_flow synthetic",
        "version": VERSION,
        "seed": seed,
        **asdict(sizes),
    }
    if _is_marked(root, marker, stamp):
        return
    lock = root / ".lock"
    found = _names(root)
    is_begun = _is_marked(root, begun, stamp)
    if not is_begun and found.isdisjoint((lock.name, marker.name)):
        _expect_empty(root, found)  # before a lock is left in a folder of your own
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # who comes while another draws finds it drawn
        if _is_marked(root, marker, stamp):
            return
        if not _is_marked(root, begun, stamp):
            _expect_empty(root, _names(root))
            _write_json(begun, stamp)
        for category in Bar(CATEGORIES, desc="Drawing", unit="category"):
            for job in _jobs(category, sizes):
                _write(root / category, category, *job, seed=seed)
        _write_json(marker, stamp)
        begun.unlink(missing_ok=True)


def _is_marked(root: Path, marker: Path, stamp: dict[str, Any]) -> bool:
    if not marker.exists():
        return False
    found = marker.read_text()
    try:
        if json.loads(found) == stamp:
            return True
    except json.JSONDecodeError:
        pass
    content = " ".join(found.split()) or "nothing"
    raise ValueError(
        f"Expected drawings of {json.dumps(stamp)} in {root}; "
        f"got {content} in {marker.name}: "
        "remove the folder to have it drawn anew, or pass another."
    )


def _names(root: Path) -> set[str]:
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(
            f"Expected a new or empty folder to draw in; got a file: {root}."
        )
    return {path.name for path in root.iterdir()} if root.exists() else set()


def _expect_empty(root: Path, names: set[str]) -> None:
    seen = sorted(name for name in names if name[0] != ".")
    if seen:
        raise ValueError(
            f"Expected a new or empty folder to draw in; got {root} with {seen[0]}: "
            "choose another."
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _jobs(category: str, sizes: Sizes) -> Iterator[tuple[str, str | None, int]]:
    """Yield split, defect and file number of every image; the defects take turns."""
    yield from (("train", None, number) for number in range(sizes.train))
    yield from (("test", None, number) for number in range(sizes.normal))
    defects = list(CATEGORIES[category].defects)
    for turn in range(sizes.anomalous):
        number, which = divmod(turn, len(defects))
        yield "test", defects[which], number


def _write(
    home: Path, category: str, split: str, defect: str | None, number: int, *, seed: int
) -> None:
    """Write one image, and its mask if it has a defect, unless they are there."""
    kind = defect or "good"
    path = home / split / kind / f"{number:03d}.png"
    mask_path = home / "ground_truth" / kind / f"{number:03d}_mask.png"
    if path.exists() and (defect is None or mask_path.exists()):
        return
    # Specimens of their own for each defect: no normal test image has a defective twin.
    kinds = [None, *CATEGORIES[category].defects]
    index = 1000 * kinds.index(defect) + number
    image, mask = draw(category, split, index, seed=seed, defect=defect)
    if defect is not None:
        _write_png(mask_path, mask.astype(np.uint8) * 255)
    _write_png(path, image)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)
