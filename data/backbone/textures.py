"""Procedural textures: 192 x 192 colour images of sixteen families, each drawn in a few
milliseconds.
"""

__all__ = ["FIELDS", "SIDE", "texture"]

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.ndimage import gaussian_filter

SIDE = 192
Field = Callable[[Generator, np.ndarray, np.ndarray], np.ndarray]
FIELDS: dict[str, Field] = {}


def field(function: Field) -> Field:
    """Enrol a family: a scalar field over coordinates `x, y` (H, W) whose features have
    a size of about 1.
    """
    FIELDS[function.__name__] = function
    return function


def texture(rng: Generator) -> np.ndarray:
    """A colour texture (SIDE, SIDE, 3) in [0, 1]: one painted family, or two of which
    one shows through the other.
    """
    image = _painted(rng)
    if rng.random() < 0.35:
        lid = _unit(FIELDS[rng.choice(list(FIELDS))](rng, *_plane(rng)))[..., None]
        image += (
            np.clip((lid - rng.uniform(0.3, 0.7)) * 6 + 0.5, 0, 1)
            * (_painted(rng) - image)
            * rng.uniform(0.3, 1)
        )
    return np.clip(image, 0, 1).astype(np.float32)


def _painted(rng: Generator) -> np.ndarray:
    family = "flat" if rng.random() < 0.2 else rng.choice(list(FIELDS))
    relief = FIELDS[family](rng, *_plane(rng))
    height = _unit(gaussian_filter(relief, rng.uniform(0.3, 1.0), mode="wrap"))
    image = _palette(rng, height)
    if rng.random() < 0.4:
        slope = np.gradient(gaussian_filter(height, 1.0))
        image *= (
            1
            + rng.uniform(0.5, 3)
            * (slope[0] * rng.normal() + slope[1] * rng.normal())[..., None]
        )
    grain = (
        rng.normal(size=(SIDE, SIDE, 1))
        if rng.random() < 0.7
        else rng.normal(size=(SIDE, SIDE, 3))
    )
    return image + rng.uniform(0, 0.04) * gaussian_filter(
        grain, (rng.uniform(0, 0.8),) * 2 + (0,)
    )


def _palette(rng: Generator, height: np.ndarray) -> np.ndarray:
    """Two to four colours around a base colour, from barely different to fully so,
    interpolated along `height`.
    """
    stops = rng.integers(2, 5)
    contrast = np.exp(rng.uniform(np.log(0.06), np.log(1.0)))
    colours = rng.uniform(0, 1, 3) * (1 - contrast) + contrast * rng.uniform(
        0, 1, (stops, 3)
    )
    if rng.random() < 0.5:
        colours = colours.mean(1, keepdims=True) + rng.uniform(0, 0.3) * (
            colours - colours.mean(1, keepdims=True)
        )
    at = np.sort(np.r_[0, rng.uniform(0, 1, stops - 2), 1])
    return np.stack([np.interp(height, at, channel) for channel in colours.T], -1)


def _plane(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (SIDE, SIDE) turned, stretched and often warped, in units of 4 to 48
    pixels.
    """
    unit = np.exp(rng.uniform(np.log(4), np.log(48)))
    angle = (
        rng.uniform(0, 2 * np.pi) if rng.random() < 0.7 else rng.integers(4) * np.pi / 2
    )
    y, x = np.mgrid[:SIDE, :SIDE] / unit
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    if rng.random() < 0.4:
        reach, wave = rng.uniform(0.05, 0.5), rng.uniform(0.15, 0.6)
        x, y = (
            x + reach * _noise(rng, x * wave, y * wave),
            y + reach * _noise(rng, x * wave, y * wave),
        )
    return x * rng.uniform(0.7, 1.4) + rng.uniform(0, 9), y + rng.uniform(0, 9)


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low + 1e-6)


def _hash(rng: Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A random number in [0, 1] for every integer cell, always the same for the same
    cell.
    """
    table = rng.random((64, 64))
    return lambda i, j: table[i & 63, j & 63]


def _cell(
    x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    return i, j, x - i, y - j


def _noise(
    rng: Generator, x: np.ndarray, y: np.ndarray, octaves: int = 1, gain: float = 0.5
) -> np.ndarray:
    """Value noise in about [-1, 1], summed over octaves."""
    total = np.zeros_like(x)
    for octave in range(octaves):
        tone, (i, j, u, v) = _hash(rng), _cell(x * 2**octave, y * 2**octave)
        u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
        near, far = (
            tone(i, j) * (1 - u) + tone(i + 1, j) * u,
            tone(i, j + 1) * (1 - u) + tone(i + 1, j + 1) * u,
        )
        total += gain**octave * (2 * (near * (1 - v) + far * v) - 1)
    return total


def _profile(rng: Generator, phase: np.ndarray) -> np.ndarray:
    """A periodic profile of period 1: a sine, a saw, or a bar with soft edges."""
    kind, wave = rng.integers(3), np.sin(2 * np.pi * phase)
    return (
        wave,
        phase % 1,
        np.tanh(rng.uniform(2, 12) * (wave - rng.uniform(-0.7, 0.7))),
    )[kind]


@field
def flat(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y


@field
def clouds(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _noise(rng, x, y, octaves=4, gain=rng.uniform(0.4, 0.9))


@field
def patches(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.tanh(8 * (_noise(rng, x, y, octaves=3) - rng.uniform(-0.4, 0.4)))


@field
def fibres(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _noise(rng, x * rng.uniform(3, 8), y * rng.uniform(0.2, 0.6), octaves=2)


@field
def grating(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _profile(rng, x)


@field
def plaid(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _profile(rng, x) + rng.uniform(0.5, 1) * _profile(
        rng, y * rng.uniform(0.5, 2)
    )


@field
def checker(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.tanh(rng.uniform(3, 20) * np.sin(np.pi * x) * np.sin(np.pi * y))


@field
def marble(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _profile(
        rng, 0.5 * x + rng.uniform(0.2, 0.8) * _noise(rng, x / 2, y / 2, octaves=3)
    )


@field
def rings(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    radius = np.hypot(
        x - rng.uniform(-9, 18), (y - rng.uniform(-9, 18)) * rng.uniform(0.2, 1)
    )
    return _profile(
        rng, radius + rng.uniform(0, 0.5) * _noise(rng, x / 3, y / 3, octaves=2)
    )


@field
def bricks(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    i, j, u, v = _cell(
        x / rng.uniform(1, 2.5) + rng.choice([0, 0.5]) * (np.floor(y) % 2), y
    )
    edge = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v))
    return np.tanh((edge - rng.uniform(0.03, 0.15)) * 20) + rng.uniform(0, 0.8) * _hash(
        rng
    )(i, j)


@field
def weave(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    i, j, u, v = _cell(x, y)
    over = (i + rng.integers(1, 3) * j) % rng.integers(2, 5) == 0
    return np.where(
        over, np.sin(np.pi * u), rng.uniform(0.3, 1) * np.sin(np.pi * v)
    ) ** rng.uniform(0.4, 1)


@field
def dots(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    (i, j, u, v), (first, second), loose = (
        _cell(x, y),
        (_hash(rng), _hash(rng)),
        rng.choice([0, 0.4]),
    )
    distance = np.hypot(
        u - 0.5 - loose * (first(i, j) - 0.5), v - 0.5 - loose * (second(i, j) - 0.5)
    )
    return np.tanh(rng.uniform(5, 25) * (rng.uniform(0.15, 0.35) - distance))


@field
def cells(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Voronoi cells of a jittered lattice: distance to the nearest seed, to the border,
    or a tone per cell.
    """
    (i, j, u, v), (first, second), tone, loose = (
        _cell(x, y),
        (_hash(rng), _hash(rng)),
        _hash(rng),
        rng.uniform(0.4, 1),
    )
    best, runner_up, owner = np.full_like(x, 9), np.full_like(x, 9), np.zeros_like(x)
    for a, b in np.ndindex(3, 3):
        p, q = i + a - 1, j + b - 1
        distance = np.hypot(
            a - 0.5 - u + loose * (first(p, q) - 0.5),
            b - 0.5 - v + loose * (second(p, q) - 0.5),
        )
        nearer = distance < best
        runner_up = np.where(nearer, best, np.minimum(runner_up, distance))
        best, owner = (
            np.where(nearer, distance, best),
            np.where(nearer, tone(p, q), owner),
        )
    return (best, np.tanh((runner_up - best) * rng.uniform(4, 20)), owner)[
        rng.integers(3)
    ]


@field
def scales(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, v = (x + 0.5 * (np.floor(y) % 2)) % 1 - 0.5, y % 1
    return np.hypot(u, v) ** rng.uniform(0.7, 2)


@field
def glyphs(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of made-up signs: a cell holds the bars and arcs its number picks."""
    (i, j, u, v), ink = _cell(x, y), np.zeros_like(x)
    for bar in (
        u - 0.25,
        u - 0.7,
        v - 0.2,
        v - 0.5,
        v - 0.8,
        u - v,
        np.hypot(u - 0.5, v - 0.5) - 0.3,
    ):
        drawn = (
            (_hash(rng)(i, j) < 0.35)
            & (np.abs(u - 0.475) < 0.3)
            & (np.abs(v - 0.5) < 0.36)
        )
        ink = np.maximum(ink, drawn * np.clip(1.5 - np.abs(bar) * 14, 0, 1))
    return ink


@field
def dream(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A random small network of sines over the coordinates."""
    waves = np.stack([x, y])
    for width in (6, 6, 1):
        waves = np.sin(
            np.tensordot(rng.normal(size=(width, len(waves))), waves, 1)
            + rng.uniform(0, 6, (width, 1, 1))
        )
    return waves[0]
