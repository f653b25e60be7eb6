"""Five drawn textures.

Each function paints one sample that fills the image, healthy unless a keyword is given.
"""

__all__ = ["carpet", "grid", "leather", "tile", "wood"]

from itertools import product

import numpy as np
from numpy.random import Generator

from cl_flow.data.datasets.drawn.canvas import (
    PLANE,
    SIZE,
    Scene,
    clouds,
    finest,
    fold,
    moulded,
    posed,
    smooth,
    tinted,
    turned,
)

# Of the wire mesh: distance between wires, and half the width of one, in pixels.
_PITCH = 17.0
_HALF = 2.9


def _filled(image: np.ndarray) -> Scene:
    return Scene(image.astype(np.float32), np.ones((SIZE, SIZE), dtype=np.float32))


def carpet(rng: Generator) -> Scene:
    """A heathered grey carpet of woven loops."""
    p = posed(rng, turn=0.05, shift=8)
    x = p.real + 0.5 * clouds(rng, 12)
    y = p.imag + 0.5 * clouds(rng, 12)
    row = np.round(y / 4)
    dx = fold(x + 3 * (row % 2), 6)
    dy = fold(y, 4)
    loop = np.hypot(dx / 3, dy / 2)
    heather = 0.07 * clouds(rng, 4) + 0.05 * clouds(rng, 1.2)
    pile = 1.12 - 0.42 * smooth(loop / 1.25)
    brightness = pile + heather + 0.03 * finest(rng)
    warm = (3 * clouds(rng, 5))[..., None] * np.array((1, 0, -1))
    return _filled(tinted((142, 138, 132), brightness) + warm)


def grid(
    rng: Generator, *, gap: float = 0.0, push: complex = 0.0, at: complex = 0.0
) -> Scene:
    """A woven wire mesh set at 45 degrees over a pale ground.

    Args:
        rng: Where the specimen's chance comes from.
        gap: Radius within which the wires are gone, around `at`.
        push: By how much the wires are displaced around `at`.
        at: Where the mesh is damaged.
    """
    p = posed(rng, turn=0.04, shift=8)
    mottle = 3 * clouds(rng, 20) + 2 * finest(rng)
    scene = _filled(np.array((196, 194, 186)) + mottle[..., None])
    drift = 0.35 * (clouds(rng, 30) + 1j * clouds(rng, 30))
    dent = complex(push) * np.exp(-(np.abs(PLANE - at) ** 2) / 100)
    p = turned(p + (drift - dent), np.pi / 4)
    tone = 1 + 0.05 * clouds(rng, 8)
    gone = gap - np.abs(PLANE - at) if gap else np.float32(-SIZE)
    across = np.cos(np.pi * p.real / _PITCH)
    lift = across * np.cos(np.pi * p.imag / _PITCH)
    warp = fold(p.real, _PITCH)
    weft = fold(p.imag, _PITCH)
    mesh = np.minimum(np.abs(warp), np.abs(weft)) - _HALF
    scene.shadow(np.maximum(mesh, gone), depth=0.5, reach=3)
    for above in (False, True):
        for offset, rise in ((warp, lift), (weft, -lift)):
            outline = np.maximum(np.abs(offset) - _HALF, gone)
            if above:
                outline = np.maximum(outline, -8 * rise)
            scene.paint(_steel(offset, rise, tone), outline)
    return scene


def _steel(offset: np.ndarray, rise: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) of a round wire, by the offset from its axis."""
    round_ = np.sqrt(np.clip(1 - (offset / _HALF) ** 2, 0, 1))
    brightness = tone * (0.35 + 0.65 * round_) * (1 + 0.22 * rise)
    shine = 90 * np.exp(-(((offset + 0.9) / 0.9) ** 2))
    return tinted((104, 106, 110), brightness) + shine[..., None]


def leather(rng: Generator) -> Scene:
    """Brown leather with a pebbled grain."""
    grain = _pebbles(rng, 6.0)
    height = 1.1 * smooth(grain / 2.6) + 0.7 * clouds(rng, 16) + 0.12 * finest(rng)
    tone = 1 + 0.04 * clouds(rng, 30) + 0.03 * clouds(rng, 5)
    creased = tone * (0.72 + 0.28 * smooth(grain / 1.6))
    hide = tinted((138, 86, 56), creased)
    return _filled(moulded(hide, height, shine=24))


def _pebbles(rng: Generator, size: float) -> np.ndarray:
    """Gap (H, W) between the two nearest of scattered points, in pixels.

    By how much the nearest is nearer than the second; 0 between pebbles. The points lie
    one in each square of `size` pixels.

    References:
        A cellular texture basis function (Worley, 1996),
        https://doi.org/10.1145/237170.237267
    """
    cell = PLANE / size + (SIZE / size / 2) * (1 + 1j)
    column = cell.real.astype(np.int16)
    row = cell.imag.astype(np.int16)
    count = int(SIZE / size) + 4
    seeds = rng.uniform(0.05, 0.95, (count, count, 2)) @ (1, 1j)
    seeds = seeds.astype(np.complex64)
    first = second = np.float32(np.inf)
    for i, j in product((-1, 0, 1), repeat=2):
        corner = column + i + 1j * (row + j)
        distance = np.abs(cell - corner - seeds[row + j, column + i])
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return size * (second - first)


def tile(rng: Generator) -> Scene:
    """A polished tile.

    Pale ground with dark and brown flecks of many sizes.
    """
    mottle = 4 * clouds(rng, 18)
    image = np.array((196, 192, 184)) + mottle[..., None]
    flecks = (
        (9, 0.75, (150, 146, 140)),
        (5, 1.0, (92, 90, 90)),
        (6, 1.25, (176, 148, 118)),
        (3.5, 1.35, (56, 54, 56)),
    )
    for cell, level, colour in flecks:
        height = clouds(rng, cell, octaves=2) - level
        share = np.clip(height * 5, 0, 1)[..., None]
        image = image + 0.9 * share * (np.array(colour) - image)
    return _filled(tinted(image, 1 + 0.02 * finest(rng)))


def wood(rng: Generator) -> Scene:
    """A board with upright grain: warped rings, fine fibres and dark pores."""
    p = posed(rng, turn=0.03, shift=0)
    x = p.real + 3.0 * clouds(rng, (28, 90)) + 0.5 * clouds(rng, (10, 50))
    width = rng.uniform(11, 14)
    phase = rng.uniform(0, 6.3)
    rings = 0.5 + 0.5 * np.sin(x * 2 * np.pi / width + phase)
    fibres = clouds(rng, (1.5, 26), octaves=1)
    pores = smooth((clouds(rng, (1.6, 12)) - 1.5) / 0.8)
    shades = 0.04 * clouds(rng, (24, 120))
    tone = 1 - 0.20 * rings**2 + 0.045 * fibres + shades
    board = tinted((186, 132, 82), tone)
    dark = np.array((112, 70, 40)) - board
    return _filled(board + pores[..., None] * dark * 0.6)
