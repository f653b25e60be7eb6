"""Drawn datasets in the image of MVTec AD.

Fifteen categories, defects with exact masks, the same bytes every time.
"""

__all__ = ["SIZES", "Sizes", "VERSION", "draw", "smoke", "synthetic"]

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image
from tqdm.auto import tqdm

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.drawn.canvas import PLANE, SIZE, Scene
from cl_flow.data.datasets.drawn.categories import CATEGORIES
from cl_flow.data.datasets.folder import read_tree
from cl_flow.paths import atomic

VERSION = 3
"""Version of the drawing code, raised whenever an image of the same seed changes."""

MARGIN = 8.0
"""Grey levels kept free below white and above black, so that no pixel saturates.

They bound the sensor noise.
"""

THRESHOLD = 6.0
"""Grey levels by which a channel has to change for the pixel to count as defective."""


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


def draw(
    category: str, split: str, index: int, *, seed: int = 0, defect: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image and the mask of its defect.

    The image depends on the arguments alone, to the byte with the same NumPy, SciPy and
    Pillow. A defective image is the normal image of the same arguments with the defect
    applied before the sensor noise, which the two share: they differ inside the mask
    and nowhere else.

    Args:
        category: A key of `CATEGORIES`.
        split: `"train"` or `"test"`.
        index: The number of the specimen, from 0.
        seed: The number of the collection.
        defect: A key of the category's defects; default none.

    Returns:
        Image (H, W, 3) uint8, and mask (H, W) bool: the pixels the defect changed, all
        False without one.

    Raises:
        KeyError: If the category or the defect is unknown.
        ValueError: If the split is unknown.
    """
    entry = _looked_up("category", category, CATEGORIES)
    if split not in ("train", "test"):
        raise ValueError(f"Expected the split 'train' or 'test'; got {split!r}.")
    key = (seed, category, split, index)
    exposure = _exposure(_generator(*key, "light"))

    def redraw(**wrong: Any) -> Scene:
        return entry.drawing(_generator(*key, "specimen"), **wrong)

    healthy = redraw()
    image = _exposed(healthy, exposure)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    if defect is not None:
        apply = _looked_up(f"defect of {category}", defect, entry.defects)
        ill, mask = _damaged(
            image, exposure, partial(apply, healthy, redraw=redraw), key=(*key, defect)
        )
        image = np.where(mask[..., None], ill, image)
    return _sensed(image, _generator(*key, "sensor")), mask


def _looked_up(kind: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise KeyError(f"Unknown {kind} {name!r}; known: {', '.join(known)}.")
    return known[name]


def _generator(*key: object) -> Generator:
    """Generator of its own for each key, the same everywhere.

    In every process.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def _exposure(rng: Generator) -> np.ndarray:
    """The light of a photograph.

    Brightness, slope across the image, and colour balance, (H, W, 3).
    """
    slope = complex(
        rng.uniform(0, 0.06) / (SIZE / 2) * np.exp(1j * rng.uniform(0, 2 * pi))
    )
    brightness = 1 + rng.uniform(-0.05, 0.05) + (PLANE * slope).real
    return (brightness[..., None] * (1 + rng.uniform(-0.012, 0.012, 3))).astype(
        np.float32
    )


def _exposed(scene: Scene, exposure: np.ndarray) -> np.ndarray:
    return np.clip(scene.image * exposure, MARGIN, 255 - MARGIN)


def _sensed(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Image as the sensor sees it.

    Noise of two grey levels, (H, W, 3) uint8.
    """
    noise = 2 * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(image + np.clip(noise, -MARGIN, MARGIN)).astype(np.uint8)


def _damaged(
    image: np.ndarray, exposure: np.ndarray, apply: Callable[..., Scene], *, key: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a defect, again with other chance until it can be seen.

    Neither a speck nor faint nor most of the image.
    """
    for attempt in range(64):
        ill = _exposed(apply(rng=_generator(*key, attempt)), exposure)
        change = np.abs(ill - image).max(2)
        mask = change > THRESHOLD
        if 0.01 <= mask.mean() <= 0.12 and change[mask].mean() > 4 * THRESHOLD:
            return ill, mask
    raise RuntimeError(
        f"Expected a visible defect within 64 attempts; got none for {key}."
    )


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
    if not _is_marked(root, begun, stamp):
        _check_empty(root)
        _write_json(begun, stamp)
    for category in tqdm(CATEGORIES, desc="Drawing", unit="category"):
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
    raise ValueError(
        f"Expected drawings of {json.dumps(stamp)} in {root}; got "
        f"{' '.join(found.split()) or 'nothing'} "
        f"in {marker.name}: remove the folder to have it drawn anew, or pass another."
    )


def _check_empty(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(
            f"Expected a new or empty folder to draw in; got a file: {root}."
        )
    if root.exists() and (
        found := [path.name for path in root.iterdir() if path.name[0] != "."]
    ):
        raise ValueError(
            f"Expected a new or empty folder to draw in; got {root} with {found[0]}: "
            "choose another."
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _jobs(category: str, sizes: Sizes) -> Iterator[tuple[str, str | None, int]]:
    """Yield split, defect and file number of every image of a category.

    The defects take turns.
    """
    yield from (("train", None, number) for number in range(sizes.train))
    yield from (("test", None, number) for number in range(sizes.normal))
    defects = list(CATEGORIES[category].defects)
    yield from (
        ("test", defects[n % len(defects)], n // len(defects))
        for n in range(sizes.anomalous)
    )


def _write(
    home: Path, category: str, split: str, defect: str | None, number: int, *, seed: int
) -> None:
    """Write one image, and its mask if it has a defect.

    Unless they are there.
    """
    path = home / split / (defect or "good") / f"{number:03d}.png"
    mask_path = home / "ground_truth" / (defect or "good") / f"{number:03d}_mask.png"
    if path.exists() and (defect is None or mask_path.exists()):
        return
    # Specimens of their own for each defect: no normal test image has a defective twin.
    turn = 0 if defect is None else 1 + list(CATEGORIES[category].defects).index(defect)
    image, mask = draw(category, split, 1000 * turn + number, seed=seed, defect=defect)
    if defect is not None:
        _write_png(mask_path, mask.astype(np.uint8) * 255)
    _write_png(path, image)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=1)
