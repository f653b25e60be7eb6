"""Tools to draw with.

They are a posed plane, distance fields on it, smooth noise, and a scene that is painted
layer by layer.

A point of the plane is a complex number, in pixels from the image centre: x to the
right, y down. A distance field gives each pixel its signed distance (pixels) to an
outline, negative inside; a layer covers the pixels inside it, and half of those on its
edge, so everything is anti-aliased without supersampling.

References:
    2D distance functions (Quilez), https://iquilezles.org/articles/distfunctions2d/
"""

__all__ = [
    "PLANE",
    "SIZE",
    "Colour",
    "Scene",
    "backdrop",
    "box",
    "clouds",
    "dome",
    "finest",
    "fold",
    "moulded",
    "path",
    "posed",
    "segment",
    "smooth",
    "tinted",
    "traced",
    "turned",
    "written",
]

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

SIZE = 128
_AXIS = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
PLANE = (_AXIS[None, :] + 1j * _AXIS[:, None]).astype(np.complex64)

Colour = tuple[float, float, float] | np.ndarray
Plane = NDArray[np.complex64]

_LIGHT = (-0.48, -0.60, 0.64)
# Between the light and the viewer: what the normal of a highlight points at.
_HALFWAY = (-0.265, -0.331, 0.906)


@dataclass
class Scene:
    """Image being painted, and the object's share of each pixel.

    Attributes:
        image: (H, W, 3), grey levels 0 to 255, not yet clipped.
        cover: (H, W), 0 to 1: the object; 1 everywhere for a texture.
    """

    image: np.ndarray
    cover: np.ndarray

    def paint(
        self, colour: Colour, distance: np.ndarray, *, opacity: float | np.ndarray = 1.0
    ) -> None:
        """Lay a colour over the inside of a distance field (H, W).

        The colour is (3,) or (H, W, 3).
        """
        alpha = np.clip(0.5 - distance, 0, 1) * opacity
        change = np.asarray(colour, dtype=np.float32) - self.image
        self.image += alpha[..., None] * change

    def shadow(
        self, distance: np.ndarray, *, depth: float = 0.45, reach: float = 5.0
    ) -> None:
        """Darken the surroundings of an outline over `reach` pixels.

        Most where they touch it.
        """
        outside = np.maximum(distance, 0)
        shade = depth * np.exp(-outside / reach)
        self.image *= (1 - shade)[..., None]

    def place(self, colour: Colour, distance: np.ndarray) -> None:
        """Paint a part of the object: what defects may lie on."""
        self.paint(colour, distance)
        self.cover = np.maximum(self.cover, np.clip(0.5 - distance, 0, 1))


def posed(
    rng: Generator, *, turn: float = 0.04, shift: float = 2.0, zoom: float = 0.02
) -> Plane:
    """Plane (H, W) seen from an object that is turned, moved and scaled.

    By at most so many radians, pixels, and this share.
    """
    angle, dx, dy, scale = rng.uniform(-1, 1, 4) * (turn, shift, shift, zoom)
    moved = PLANE - complex(dx, dy)
    return turned(moved, angle) / float(1 + scale)


def turned(plane: Plane, angle: float) -> Plane:
    """The plane seen from something turned by `angle` radians, (H, W)."""
    return plane * complex(np.exp(-1j * angle))


def box(
    plane: Plane, width: float, height: float, *, corner: float = 0.0
) -> np.ndarray:
    """Distance (H, W) to a rectangle with rounded corners.

    Of half sizes `width` and `height`.
    """
    dx = np.abs(plane.real) - width + corner
    dy = np.abs(plane.imag) - height + corner
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    inside = np.minimum(np.maximum(dx, dy), 0)
    return outside + inside - corner


def segment(plane: Plane, start: complex, end: complex) -> np.ndarray:
    """Distance to a line segment, (H, W)."""
    start = complex(start)
    along = complex(end - start)
    offset = plane - start
    projected = (offset * along.conjugate()).real
    share = np.clip(projected / abs(along) ** 2, 0, 1)
    return np.abs(offset - share * along)


def path(plane: Plane, points: Sequence[complex]) -> np.ndarray:
    """Distance to an open polyline, (H, W)."""
    distances = [segment(plane, start, end) for start, end in pairwise(points)]
    return np.minimum.reduce(distances)


def fold(value: np.ndarray, period: float) -> np.ndarray:
    """Repeat a coordinate: its offset from the nearest multiple of `period`."""
    return value - period * np.round(value / period)


def smooth(value: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 over the unit interval with flat ends."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def clouds(
    rng: Generator, cell: float | tuple[float, float], *, octaves: int = 1
) -> np.ndarray:
    """Smooth noise (H, W) of unit variance.

    Its features are `cell` pixels (or x by y) wide; octaves halve it.
    """
    wide, high = (cell, cell) if np.isscalar(cell) else cell
    total = np.zeros((SIZE, SIZE), dtype=np.float32)
    for octave in range(octaves):
        width = SIZE * 2**octave
        lattice = [max(2, int(np.ceil(width / size)) + 1) for size in (high, wide)]
        knots = Image.fromarray(rng.standard_normal(lattice, dtype=np.float32))
        noise = knots.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        total += np.asarray(noise) * 0.6**octave
    return (total - total.mean()) / (total.std() + 1e-6)


def traced(noise: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look noise up at other coordinates (pixels from the centre), wrapping.

    Noise that turns with an object.
    """
    places = [y + SIZE / 2, x + SIZE / 2]
    return map_coordinates(noise, places, order=1, mode="grid-wrap")


def finest(rng: Generator) -> np.ndarray:
    """White noise of unit variance, (H, W)."""
    return rng.standard_normal((SIZE, SIZE), dtype=np.float32)


def tinted(colour: Colour, brightness: np.ndarray) -> np.ndarray:
    """Colour (H, W, 3) under a brightness (H, W) around 1.

    The colour is (3,) or (H, W, 3).
    """
    level = brightness[..., None].astype(np.float32)
    return np.asarray(colour, dtype=np.float32) * level


def dome(distance: np.ndarray, radius: float) -> np.ndarray:
    """Height (H, W) of a body whose rim is rounded.

    With this radius; farther inside it is flat.
    """
    rise = np.clip(-distance / radius, 0, 1)
    return radius * np.sqrt(rise * (2 - rise))


def moulded(
    colour: Colour, height: np.ndarray, *, shine: float = 0.0, ambient: float = 0.45
) -> np.ndarray:
    """A colour on a height field lit from the upper left.

    Part ambient, part diffuse, and a highlight, (H, W, 3).

    Args:
        colour: What a level surface shows, (3,) or (H, W, 3).
        height: Pixels towards the viewer, (H, W).
        shine: Grey levels of the brightest highlight.
        ambient: Share of the light that comes from everywhere.
    """
    facing = _towards(height, _LIGHT)
    diffuse = facing / _LIGHT[2]
    body = tinted(colour, ambient + (1 - ambient) * diffuse)
    if shine:
        highlight = _towards(height, _HALFWAY)
        body += (shine * highlight**16)[..., None]
    return body


def _towards(height: np.ndarray, direction: tuple[float, float, float]) -> np.ndarray:
    """Cosine (H, W) between a height field's normals and a direction, at least 0."""
    x, y, z = direction
    down, right = np.gradient(height)
    upright = 1 / np.sqrt(1 + right * right + down * down)
    return np.maximum((z - right * x - down * y) * upright, 0)


def backdrop(
    rng: Generator, colour: Colour, *, rough: float = 2.0, cell: float = 24.0
) -> Scene:
    """An empty scene: a plain ground with faint clouds of `rough` grey levels."""
    ground = np.asarray(colour, dtype=np.float32)
    ground = ground + (rough * clouds(rng, cell))[..., None]
    ground = ground + (0.5 * rough * finest(rng))[..., None]
    uncovered = np.zeros((SIZE, SIZE), dtype=np.float32)
    return Scene(ground, uncovered)


_GLYPHS = {
    "0": (0, 1, 1 + 1.6j, 1.6j, 0),
    "1": (0.1 + 0.4j, 0.6, 0.6 + 1.6j),
    "5": (1, 0, 0.7j, 0.8 + 0.7j, 1 + 0.9j, 1 + 1.4j, 0.8 + 1.6j, 1.6j),
    "7": (0, 1, 0.4 + 1.6j),
    "F": (1, 0, 0.8j, 0.8 + 0.8j, 0.8j, 1.6j),
    "N": (1.6j, 0, 1 + 1.6j, 1),
}


def written(plane: Plane, text: str, size: float) -> np.ndarray:
    """Distance (H, W) to the strokes of a text centred on the origin.

    A letter is `size` wide and 1.6 `size` high. The distance is exact near the text,
    and 9 pixels from afar.
    """
    width = len(text) * 1.5 - 0.5
    beside = np.abs(plane.real) < width * size / 2 + 6
    level = np.abs(plane.imag) < 0.8 * size + 6
    near = beside & level
    local = plane[near] / size + (width / 2 + 0.8j)
    distance = np.full(plane.shape, 9, dtype=np.float32)
    strokes = [path(local - 1.5 * i, _GLYPHS[letter]) for i, letter in enumerate(text)]
    distance[near] = np.minimum.reduce(strokes) * size
    return distance
