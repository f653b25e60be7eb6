"""Drawing of one image from its key, healthy or with a defect."""

__all__ = ["VERSION", "draw"]

import hashlib
from collections.abc import Callable
from functools import partial
from math import pi
from typing import Any

import numpy as np
from numpy.random import Generator

from cl_flow.calls import refuse_unknown
from cl_flow.data.datasets.drawn.canvas import PLANE, SIZE, Scene
from cl_flow.data.datasets.drawn.categories import CATEGORIES

VERSION = 3
"""Version of the drawing code, raised whenever an image of the same seed changes."""

MARGIN = 8.0
"""Grey levels kept free below white and above black, so that no pixel saturates.

They bound the sensor noise.
"""

THRESHOLD = 6.0
"""Grey levels by which a channel has to change for the pixel to count as defective."""

ATTEMPTS = 64
"""Tries at a defect that can be seen."""


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

    Example:
        >>> healthy, _ = draw("tile", "test", 0)
        >>> cracked, mask = draw("tile", "test", 0, defect="crack")
        >>> cracked.shape, mask.shape
        ((128, 128, 3), (128, 128))
        >>> bool(((cracked != healthy).any(axis=2) == mask).all())
        True
    """
    entry = _looked_up("category", category, CATEGORIES)
    if split not in ("train", "test"):
        raise ValueError(f"Expected the split 'train' or 'test'; got {split!r}.")
    key = (seed, category, split, index)

    def redraw(**wrong: Any) -> Scene:
        return entry.drawing(_generator(*key, "specimen"), **wrong)

    healthy = redraw()
    exposure = _exposure(_generator(*key, "light"))
    image = _exposed(healthy, exposure)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    if defect is not None:
        chosen = _looked_up(f"defect of {category}", defect, entry.defects)
        apply = partial(chosen, healthy, redraw=redraw)
        ill, mask = _damaged(image, exposure, apply, key=(*key, defect))
        image = np.where(mask[..., None], ill, image)
    return _sensed(image, _generator(*key, "sensor")), mask


def _looked_up(kind: str, name: str, known: dict[str, Any]) -> Any:
    refuse_unknown(kind, name, known)
    return known[name]


def _generator(*key: object) -> Generator:
    """Generator of its own for each key, the same in every process."""
    name = "/".join(map(str, key))
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def _exposure(rng: Generator) -> np.ndarray:
    """Light of a photograph, (H, W, 3): brightness, slope and colour balance."""
    steepness = rng.uniform(0, 0.06) / (SIZE / 2)
    slope = complex(steepness * np.exp(1j * rng.uniform(0, 2 * pi)))
    brightness = 1 + rng.uniform(-0.05, 0.05) + (PLANE * slope).real
    balance = 1 + rng.uniform(-0.012, 0.012, 3)
    return (brightness[..., None] * balance).astype(np.float32)


def _exposed(scene: Scene, exposure: np.ndarray) -> np.ndarray:
    return np.clip(scene.image * exposure, MARGIN, 255 - MARGIN)


def _sensed(image: np.ndarray, rng: Generator) -> np.ndarray:
    """Add the sensor's noise of two grey levels and round, (H, W, 3) uint8."""
    noise = 2 * rng.standard_normal(image.shape, dtype=np.float32)
    noisy = image + np.clip(noise, -MARGIN, MARGIN)
    return np.rint(noisy).astype(np.uint8)


def _damaged(
    image: np.ndarray, exposure: np.ndarray, apply: Callable[..., Scene], *, key: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a defect, again with other chance until it can be seen.

    Neither a speck nor faint nor most of the image.
    """
    for attempt in range(ATTEMPTS):
        scene = apply(rng=_generator(*key, attempt))
        ill = _exposed(scene, exposure)
        change = np.abs(ill - image).max(2)
        mask = change > THRESHOLD
        if 0.01 <= mask.mean() <= 0.12 and change[mask].mean() > 4 * THRESHOLD:
            return ill, mask
    raise RuntimeError(
        f"Expected a visible defect within {ATTEMPTS} attempts; got none for {key}."
    )
