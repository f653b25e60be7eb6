"""Defects of drawn images.

Marks laid over a scene, and specimens drawn again with something wrong.

A defect is a function `(scene, rng, redraw) -> scene`: the healthy scene, where its
chance comes from, and the drawing of the same specimen, which takes the drawing's
keywords.
"""

__all__ = [
    "Defect",
    "anywhere",
    "between",
    "crack",
    "cut",
    "hole",
    "one_of",
    "redrawn",
    "run",
    "scratch",
    "stain",
    "texture_swap",
    "thread",
]

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.ndimage import binary_erosion

from cl_flow.data.datasets.drawn.canvas import PLANE, Scene, clouds, path, turned

Redraw = Callable[..., Scene]
Defect = Callable[[Scene, Generator, Redraw], Scene]
Choice = Callable[[Generator], Any]

_INKS = ((92, 44, 30), (40, 52, 88), (150, 34, 34), (36, 34, 34), (216, 202, 128))
_DYES = ((196, 48, 52), (44, 84, 170), (236, 232, 222), (38, 36, 40), (214, 174, 60))


def one_of(*values: Any) -> Choice:
    """Choose one of these values."""
    return lambda rng: values[rng.integers(len(values))]


def between(low: float, high: float, *, either_sign: bool = False) -> Choice:
    """Choose a number from an interval.

    Or from it and its mirror image.
    """

    def choose(rng: Generator) -> float:
        size = rng.uniform(low, high)
        return size * rng.choice((-1, 1)) if either_sign else size

    return choose


def anywhere(reach: float) -> Choice:
    """Choose a point of the plane near the centre.

    At most `reach` pixels away, across and down.
    """
    return lambda rng: complex(*rng.uniform(-reach, reach, 2))


def run(starts: range, *, longest: int, shortest: int = 1) -> Choice:
    """Choose some neighbours by number.

    The first and the end of a run.
    """

    def choose(rng: Generator) -> tuple[int, int]:
        start = int(rng.choice(starts))
        length = int(rng.integers(shortest, longest + 1))
        return start, start + length

    return choose


def redrawn(**choices: Choice) -> Defect:
    """Draw the specimen again with these keywords.

    Each is chosen by its function of the generator.
    """

    def defect(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
        wrong = {name: choose(rng) for name, choose in choices.items()}
        return redraw(**wrong)

    return defect


def _place(scene: Scene, rng: Generator, *, margin: int) -> complex:
    """Point of the object, well inside it and the frame.

    At least `margin` pixels.
    """
    inside = binary_erosion(scene.cover > 0.9, iterations=margin)
    rows, columns = np.nonzero(inside if inside.any() else scene.cover > 0.5)
    chosen = rng.integers(len(rows))
    return complex(PLANE[rows[chosen], columns[chosen]])


def _walk(
    rng: Generator, start: complex, *, length: float, steps: int, wander: float
) -> list[complex]:
    """Corners of a line through `start` whose direction drifts.

    By `wander` radians a step.
    """
    first = rng.uniform(0, 2 * np.pi)
    headings = first + np.cumsum(rng.normal(0, wander, steps))
    strides = np.exp(1j * headings) * length / steps
    points = np.cumsum(np.concatenate([[0], strides]))
    return list(start + points - points[steps // 2])


def _blob(
    rng: Generator, centre: complex, radius: float, *, rough: float = 0.22
) -> np.ndarray:
    """Distance to an uneven roundish spot, (H, W)."""
    q = turned(PLANE - centre, rng.uniform(0, np.pi))
    stretch = rng.uniform(0.75, 1.3)
    reach = np.abs(q.real * stretch + 1j * q.imag / stretch)
    return reach - radius * (1 + rough * clouds(rng, 14))


def _shifted(distance: np.ndarray, pixels: int) -> np.ndarray:
    """The field moved right and down, its border repeated, (H, W)."""
    last = len(distance) - 1
    source = np.clip(np.arange(last + 1) - pixels, 0, last)
    return distance[np.ix_(source, source)]


def _over(
    scene: Scene, colour: Any, distance: np.ndarray, opacity: float | np.ndarray = 1.0
) -> Scene:
    """Copy of the scene with `colour` laid inside the distance field.

    Over the object only.
    """
    marked = Scene(scene.image.copy(), scene.cover)
    object_share = np.clip(2 * scene.cover - 1, 0, 1)
    marked.paint(colour, distance, opacity=opacity * object_share)
    return marked


def _contrasting(
    scene: Scene, rng: Generator, distance: np.ndarray, colours: Sequence[Sequence[int]]
) -> np.ndarray:
    """Colour (3,) that stands out from what it covers.

    One of several, inside the distance field.
    """
    palette = np.array(colours)
    covered = scene.image[distance < 0.5].mean(0)
    contrasts = np.abs(palette - covered).max(1)
    candidates = np.flatnonzero(contrasts >= min(70, contrasts.max()))
    return palette[rng.choice(candidates)]


def scratch(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """Scratch of one to three nearly straight scores.

    Side by side, lighter or darker than the surface.
    """
    start = _place(scene, rng, margin=10)
    line = _walk(rng, start, length=rng.uniform(32, 60), steps=5, wander=0.12)
    change = rng.uniform(70, 100)
    if scene.image[scene.cover > 0.5].mean() >= 120:
        change = change * rng.choice((-1, 1))
    width = rng.uniform(1.2, 2.0)
    spacing = rng.uniform(5, 7)
    aside = complex(spacing * np.exp(1j * rng.uniform(0, 2 * np.pi)))
    marks = []
    for n in range(rng.integers(1, 4)):
        score = path(PLANE - aside * n, line[n:])
        marks.append(score - width * (1 - 0.2 * n))
    return _over(scene, scene.image + change, np.minimum.reduce(marks))


def stain(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """A spot of dried liquid: tinted inside, with a darker rim."""
    centre = _place(scene, rng, margin=8)
    spot = _blob(rng, centre, rng.uniform(9, 16))
    ink = _contrasting(scene, rng, spot, _INKS)
    rim = np.exp(-(((spot + 1.5) / 1.6) ** 2))
    strength = rng.uniform(0.4, 0.8)
    opacity = np.minimum(strength * (0.8 + 0.45 * rim), 1)
    return _over(scene, ink, spot, opacity=opacity)


def hole(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """A puncture: a dark pit with a lit lower lip."""
    centre = _place(scene, rng, margin=9)
    pit = _blob(rng, centre, rng.uniform(7, 12), rough=0.10)
    lip = np.maximum(pit, -_shifted(pit, -2) - 1.5)
    marked = _over(scene, scene.image * 0.55 + 100, pit - 1.2, opacity=0.7)
    dark = _over(marked, scene.image * 0.16 + 6, pit)
    return _over(dark, scene.image * 0.42 + 12, lip, opacity=0.8)


def crack(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """A jagged dark fissure with a branch, lit along one side."""
    start = _place(scene, rng, margin=8)
    trunk = _walk(rng, start, length=rng.uniform(36, 60), steps=9, wander=0.55)
    fork = _walk(rng, trunk[5], length=rng.uniform(20, 30), steps=5, wander=0.4)
    taper = 1.2 + rng.uniform(0.3, 1.0)
    main = path(PLANE, trunk) - taper
    branch = path(PLANE, fork[2:]) - 0.7 * taper
    line = np.minimum(main, branch)
    lit = _over(scene, scene.image + 45, _shifted(line, 1), opacity=0.7)
    return _over(lit, scene.image * 0.22, line)


def cut(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """A gaping slit: a dark lens with pale lips."""
    heading = np.exp(1j * rng.uniform(0, np.pi))
    centre = _place(scene, rng, margin=10)
    q = (PLANE - centre) / complex(heading)
    half = rng.uniform(14, 24)
    gape = rng.uniform(3.0, 5.0)
    width = gape * (1 - np.minimum((q.real / half) ** 2, 4))
    lens = np.abs(q.imag + 0.004 * q.real**2) - width
    opacity = 0.8 * (np.abs(q.real) < half)
    lips = _over(scene, scene.image * 0.6 + 95, lens - 1.8, opacity=opacity)
    return _over(lips, scene.image * 0.2 + 8, lens)


def thread(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
    """A stray coloured fibre lying on the surface, with its shadow."""
    start = _place(scene, rng, margin=8)
    line = _walk(rng, start, length=rng.uniform(50, 85), steps=14, wander=0.38)
    fibre = path(PLANE, line) - rng.uniform(1.2, 1.8)
    shaded = _over(scene, scene.image * 0.55, _shifted(fibre, 2), opacity=0.8)
    dye = _contrasting(scene, rng, fibre, _DYES)
    return _over(shaded, dye, fibre)


def texture_swap(other: Callable[[Generator], Scene]) -> Defect:
    """A patch of the surface replaced by another drawing's."""

    def swapped(scene: Scene, rng: Generator, redraw: Redraw) -> Scene:
        centre = _place(scene, rng, margin=12)
        patch = _blob(rng, centre, rng.uniform(11, 16))
        surface = other(rng).image
        return _over(scene, surface, patch, opacity=rng.uniform(0.75, 1))

    return swapped
