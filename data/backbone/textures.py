"""Procedural textures: 192 x 192 colour images of sixteen families.

Each is drawn in a few milliseconds.
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
    """Enrol a family: a scalar field over coordinates `x, y` (H, W).

    Its features have a size of about 1.
    """
    FIELDS[function.__name__] = function
    return function


def texture(rng: Generator) -> np.ndarray:
    """A colour texture (SIDE, SIDE, 3) in [0, 1].

    One painted family, or two of which one shows through the other.
    """
    image = _painted(rng)
    if rng.random() < 0.35:
        family = rng.choice(list(FIELDS))
        relief = FIELDS[family](rng, *_plane(rng))
        lid = _unit(relief)[..., None]
        share = np.clip((lid - rng.uniform(0.3, 0.7)) * 6 + 0.5, 0, 1)
        change = _painted(rng) - image
        image += share * change * rng.uniform(0.3, 1)
    return np.clip(image, 0, 1).astype(np.float32)


def _painted(rng: Generator) -> np.ndarray:
    family = "flat" if rng.random() < 0.2 else rng.choice(list(FIELDS))
    relief = FIELDS[family](rng, *_plane(rng))
    height = _unit(gaussian_filter(relief, rng.uniform(0.3, 1.0), mode="wrap"))
    image = _palette(rng, height)
    if rng.random() < 0.4:
        down, right = np.gradient(gaussian_filter(height, 1.0))
        strength = rng.uniform(0.5, 3)
        slope = down * rng.normal() + right * rng.normal()
        image *= 1 + strength * slope[..., None]
    channels = 1 if rng.random() < 0.7 else 3
    grain = rng.normal(size=(SIDE, SIDE, channels))
    strength = rng.uniform(0, 0.04)
    width = rng.uniform(0, 0.8)
    return image + strength * gaussian_filter(grain, (width, width, 0))


def _palette(rng: Generator, height: np.ndarray) -> np.ndarray:
    """Two to four colours around a base colour, interpolated along `height`.

    They are from barely different to fully so.
    """
    stops = rng.integers(2, 5)
    contrast = np.exp(rng.uniform(np.log(0.06), np.log(1.0)))
    base = rng.uniform(0, 1, 3) * (1 - contrast)
    colours = base + contrast * rng.uniform(0, 1, (stops, 3))
    if rng.random() < 0.5:
        grey = colours.mean(1, keepdims=True)
        colours = grey + rng.uniform(0, 0.3) * (colours - grey)
    at = np.sort(np.r_[0, rng.uniform(0, 1, stops - 2), 1])
    return np.stack([np.interp(height, at, channel) for channel in colours.T], -1)


def _plane(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (SIDE, SIDE) turned, stretched and often warped.

    They are in units of 4 to 48 pixels.
    """
    unit = np.exp(rng.uniform(np.log(4), np.log(48)))
    if rng.random() < 0.7:
        angle = rng.uniform(0, 2 * np.pi)
    else:
        angle = rng.integers(4) * np.pi / 2
    cos = np.cos(angle)
    sin = np.sin(angle)
    down, right = np.mgrid[:SIDE, :SIDE] / unit
    x = right * cos - down * sin
    y = right * sin + down * cos
    if rng.random() < 0.4:
        reach = rng.uniform(0.05, 0.5)
        wave = rng.uniform(0.15, 0.6)
        aside = _noise(rng, x * wave, y * wave)
        along = _noise(rng, x * wave, y * wave)
        x = x + reach * aside
        y = y + reach * along
    x = x * rng.uniform(0.7, 1.4) + rng.uniform(0, 9)
    return x, y + rng.uniform(0, 9)


def _unit(values: np.ndarray) -> np.ndarray:
    low = values.min()
    return (values - low) / (values.max() - low + 1e-6)


def _hash(rng: Generator) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Table of a random number in [0, 1] for every integer cell."""
    table = rng.random((64, 64))
    return lambda i, j: table[i & 63, j & 63]


def _cell(
    x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the integer cell, and the offset in it, in [0, 1)."""
    i = np.floor(x).astype(int)
    j = np.floor(y).astype(int)
    return i, j, x - i, y - j


def _noise(
    rng: Generator, x: np.ndarray, y: np.ndarray, octaves: int = 1, gain: float = 0.5
) -> np.ndarray:
    """Value noise in about [-1, 1], summed over octaves."""
    total = np.zeros_like(x)
    for octave in range(octaves):
        tone = _hash(rng)
        i, j, u, v = _cell(x * 2**octave, y * 2**octave)
        u = u * u * (3 - 2 * u)
        v = v * v * (3 - 2 * v)
        near = tone(i, j) * (1 - u) + tone(i + 1, j) * u
        far = tone(i, j + 1) * (1 - u) + tone(i + 1, j + 1) * u
        total += gain**octave * (2 * (near * (1 - v) + far * v) - 1)
    return total


def _profile(rng: Generator, phase: np.ndarray) -> np.ndarray:
    """A profile of period 1: a sine, a saw, or a bar with soft edges."""
    kind = rng.integers(3)
    wave = np.sin(2 * np.pi * phase)
    # Drawn for every kind, so that what follows does not depend on it.
    hardness = rng.uniform(2, 12)
    bar = np.tanh(hardness * (wave - rng.uniform(-0.7, 0.7)))
    return (wave, phase % 1, bar)[kind]


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
    warp = _profile(rng, x)
    strength = rng.uniform(0.5, 1)
    weft = _profile(rng, y * rng.uniform(0.5, 2))
    return warp + strength * weft


@field
def checker(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    hardness = rng.uniform(3, 20)
    return np.tanh(hardness * np.sin(np.pi * x) * np.sin(np.pi * y))


@field
def marble(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    strength = rng.uniform(0.2, 0.8)
    bent = strength * _noise(rng, x / 2, y / 2, octaves=3)
    return _profile(rng, 0.5 * x + bent)


@field
def rings(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dx = x - rng.uniform(-9, 18)
    dy = y - rng.uniform(-9, 18)
    radius = np.hypot(dx, dy * rng.uniform(0.2, 1))
    strength = rng.uniform(0, 0.5)
    bent = strength * _noise(rng, x / 3, y / 3, octaves=2)
    return _profile(rng, radius + bent)


@field
def bricks(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    length = rng.uniform(1, 2.5)
    bond = rng.choice([0, 0.5]) * (np.floor(y) % 2)
    i, j, u, v = _cell(x / length + bond, y)
    edge = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v))
    joint = np.tanh((edge - rng.uniform(0.03, 0.15)) * 20)
    contrast = rng.uniform(0, 0.8)
    tone = _hash(rng)
    return joint + contrast * tone(i, j)


@field
def weave(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    i, j, u, v = _cell(x, y)
    step = rng.integers(1, 3)
    over = (i + step * j) % rng.integers(2, 5) == 0
    weft = rng.uniform(0.3, 1) * np.sin(np.pi * v)
    height = np.where(over, np.sin(np.pi * u), weft)
    return height ** rng.uniform(0.4, 1)


@field
def dots(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    i, j, u, v = _cell(x, y)
    first = _hash(rng)
    second = _hash(rng)
    loose = rng.choice([0, 0.4])
    dx = u - 0.5 - loose * (first(i, j) - 0.5)
    dy = v - 0.5 - loose * (second(i, j) - 0.5)
    hardness = rng.uniform(5, 25)
    radius = rng.uniform(0.15, 0.35)
    return np.tanh(hardness * (radius - np.hypot(dx, dy)))


@field
def cells(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Voronoi cells of a jittered lattice.

    Distance to the nearest seed, to the border, or a tone per cell.
    """
    i, j, u, v = _cell(x, y)
    first = _hash(rng)
    second = _hash(rng)
    tone = _hash(rng)
    loose = rng.uniform(0.4, 1)
    best = np.full_like(x, 9)
    runner_up = np.full_like(x, 9)
    owner = np.zeros_like(x)
    for a, b in np.ndindex(3, 3):
        p = i + a - 1
        q = j + b - 1
        dx = a - 0.5 - u + loose * (first(p, q) - 0.5)
        dy = b - 0.5 - v + loose * (second(p, q) - 0.5)
        distance = np.hypot(dx, dy)
        nearer = distance < best
        runner_up = np.where(nearer, best, np.minimum(runner_up, distance))
        best = np.where(nearer, distance, best)
        owner = np.where(nearer, tone(p, q), owner)
    border = np.tanh((runner_up - best) * rng.uniform(4, 20))
    return (best, border, owner)[rng.integers(3)]


@field
def scales(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    offset = 0.5 * (np.floor(y) % 2)
    u = (x + offset) % 1 - 0.5
    return np.hypot(u, y % 1) ** rng.uniform(0.7, 2)


@field
def glyphs(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rows of made-up signs: a cell holds the bars and arcs its number picks."""
    i, j, u, v = _cell(x, y)
    ink = np.zeros_like(x)
    arc = np.hypot(u - 0.5, v - 0.5) - 0.3
    inside = (np.abs(u - 0.475) < 0.3) & (np.abs(v - 0.5) < 0.36)
    for bar in (u - 0.25, u - 0.7, v - 0.2, v - 0.5, v - 0.8, u - v, arc):
        picked = _hash(rng)(i, j) < 0.35
        stroke = np.clip(1.5 - np.abs(bar) * 14, 0, 1)
        ink = np.maximum(ink, (picked & inside) * stroke)
    return ink


@field
def dream(rng: Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A random small network of sines over the coordinates."""
    waves = np.stack([x, y])
    for width in (6, 6, 1):
        weights = rng.normal(size=(width, len(waves)))
        phases = rng.uniform(0, 6, (width, 1, 1))
        waves = np.sin(np.tensordot(weights, waves, 1) + phases)
    return waves[0]
