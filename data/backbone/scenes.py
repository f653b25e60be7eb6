"""Made-up categories: scenes of textured shapes.

They are photographed again and again, some of the time with a defect.
"""

__all__ = ["SIZE", "Scene", "Skins"]

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from textures import SIDE, texture
from torch.nn.functional import affine_grid, grid_sample

SIZE = 128
VISIBLE = 0.06
"""Mean change of colour, of 1, beyond which a pixel belongs to a defect."""


def outline(rng: Generator, radius: float) -> np.ndarray:
    """Corners (n, 2) around 0 of a random closed shape.

    It is an ellipse, a polygon, a star, a box or a soft blob.
    """
    kind = rng.integers(4)
    corners = rng.integers(3, 9)
    if kind < 2:
        count = 48
    else:
        count = corners * (1 + (kind == 2))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    reach = np.ones_like(angle)
    if kind == 1:
        reach += 0.4 * _ripples(rng, angle)
    if kind == 2:
        reach[1::2] = rng.uniform(0.4, 1)
    flatness = rng.uniform(0.3, 1)
    circle = np.stack([np.cos(angle), np.sin(angle) * flatness], -1)
    turn = rng.uniform(0, 2 * np.pi)
    cos = np.cos(turn)
    sin = np.sin(turn)
    return (radius * reach[:, None] * circle) @ np.array([[cos, -sin], [sin, cos]])


def _ripples(rng: Generator, angle: np.ndarray) -> np.ndarray:
    """Sum of five random waves around a circle."""
    waves = []
    for k in range(2, 7):
        height = rng.normal()
        phase = rng.uniform(0, 6)
        waves.append(height * np.sin(k * angle + phase) / k)
    return np.sum(waves, 0)


def walk(rng: Generator, length: float) -> np.ndarray:
    """Points (n, 2) of a path around 0, from straight to crooked."""
    first = rng.uniform(0, 2 * np.pi)
    wander = rng.choice([0.02, 0.2, 0.7])
    heading = first + np.cumsum(rng.normal(0, wander, 9))
    strides = np.stack([np.cos(heading), np.sin(heading)], -1)
    steps = np.cumsum(strides, 0) * length / 9
    return steps - steps.mean(0)


def drawing(rng: Generator, radius: float, places: np.ndarray) -> np.ndarray:
    """A mask (SIZE, SIZE) in [0, 1]: the same random form at every place.

    The form is a shape, ring, bar or path of a radius in pixels.
    """
    sheet = Image.new("L", (2 * SIZE, 2 * SIZE))
    pen = ImageDraw.Draw(sheet)
    kind = rng.choice(["shape", "ring", "path"], p=[0.55, 0.15, 0.3])
    points = walk(rng, 3 * radius) if kind == "path" else outline(rng, radius)
    width = radius * np.exp(rng.uniform(-2.5, -0.3))
    inner = rng.uniform(0.5, 0.85)
    for place in places:
        corners = _corners(points + place)
        if kind == "path":
            pen.line(corners, 255, round(max(2 * width, 2)), "curve")
            continue
        pen.polygon(corners, 255)
        if kind == "ring":
            pen.polygon(_corners(points * inner + place), 0)
    halved = sheet.resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(halved, np.float32) / 255


def _corners(points: np.ndarray) -> list[tuple[float, float]]:
    """Points (n, 2) on the sheet, which has twice the size."""
    return [tuple(point) for point in 2 * points]


def spot(rng: Generator) -> np.ndarray:
    """Mask (SIZE, SIZE) of a defect: one mark, or some small ones.

    It covers from specks to a third of the image.
    """
    size = np.exp(rng.uniform(np.log(2), np.log(16)))
    centre = rng.uniform(0.1, 0.9, 2) * SIZE
    count = 1 if rng.random() < 0.8 else rng.integers(2, 8)
    scatter = rng.normal(0, 12, (count, 2)) * (count > 1)
    radius = size if count == 1 else min(size, 4)
    mask = drawing(rng, radius, centre + scatter)
    return gaussian_filter(mask, rng.uniform(1, 5)) if rng.random() < 0.25 else mask


@dataclass(frozen=True)
class Part:
    """A shape with a skin, and how both may vary from one photograph to the next.

    Args:
        form: Mask and bevel (2, SIZE, SIZE).
        skin: Texture (3, SIDE, SIDE).
        printed: Whether the texture lies still on the part, or is cut anew for every
            photograph.
        shift: Largest move, in half image sides.
        turn: Largest turn, in radians.
    """

    form: torch.Tensor
    skin: torch.Tensor
    printed: bool
    shift: float
    turn: float


class Skins:
    """A stock of textures, each taken in another guise.

    It is turned, mirrored, and has its colour channels shuffled and scaled.
    """

    def __init__(self, rng: Generator, count: int) -> None:
        self.stock = []
        for _ in range(count):
            pixels = (255 * texture(rng)).astype(np.uint8)
            self.stock.append(torch.from_numpy(pixels).permute(2, 0, 1))

    def take(self, rng: Generator) -> torch.Tensor:
        """A texture (3, SIDE, SIDE) in [0, 1]."""
        skin = self.stock[rng.integers(len(self.stock))]
        skin = skin[rng.permutation(3)]
        skin = skin.rot90(int(rng.integers(4)), (1, 2))
        skin = skin.flip(2) if rng.random() < 0.5 else skin
        brightness = rng.uniform(0.8, 1.1)
        scale = brightness * rng.uniform(0.9, 1, (3, 1, 1)) / 255
        return skin * torch.from_numpy(scale.astype(np.float32))


def _form(rng: Generator, mask: np.ndarray) -> torch.Tensor:
    """The mask, and a bevel: light from one side on the blurred mask."""
    down, right = np.gradient(gaussian_filter(mask, rng.uniform(1.5, 6)))
    strength = rng.choice([0, 6])
    bevel = strength * (down * rng.normal() + right * rng.normal())
    return torch.from_numpy(np.stack([mask, bevel]).astype(np.float32))


def _places(rng: Generator) -> tuple[np.ndarray, float]:
    """Places (n, 2) in pixels and the radius of the shape at each.

    One place with a large radius, a lattice with a small one, or a handful in between.
    """
    kind = rng.random()
    if kind < 0.6:
        return rng.uniform(0.2, 0.8, (1, 2)) * SIZE, rng.uniform(8, 52)
    if kind < 0.8:
        pitch = rng.uniform(14, 40)
        along = slice(pitch / 2, SIZE, pitch)
        lattice = np.stack(np.mgrid[along, along], -1)
        return lattice.reshape(-1, 2), pitch * 0.35
    count = rng.integers(2, 8)
    return rng.uniform(0.1, 0.9, (count, 2)) * SIZE, rng.uniform(4, 16)


class Scene:
    """A category nobody has seen: a backdrop and up to five parts.

    It has its own tolerances, light and camera.

    Args:
        rng: Decides everything that all photographs of the scene share.
        skins: Where textures come from.
    """

    def __init__(self, rng: Generator, skins: Skins) -> None:
        self.skins = skins
        self.backdrop = skins.take(rng)
        self.printed = rng.random() < 0.4
        count = rng.choice([0, 1, 2, 3, 5], p=[0.25, 0.2, 0.25, 0.2, 0.1])
        self.parts = [self._part(rng) for _ in range(count)]
        self.shift = rng.choice([0, 0.02, 0.08])
        self.turn = rng.choice([0, 0.03, 0.15, 3.2], p=[0.3, 0.3, 0.3, 0.1])
        self.light = rng.uniform(0, 0.15)
        self.gain = rng.uniform(0, 0.08)
        self.grain = rng.uniform(0, 0.03)
        self.blur = rng.choice([0, 0.5, 0.9])

    def _part(self, rng: Generator) -> Part:
        places, radius = _places(rng)
        return Part(
            form=_form(rng, drawing(rng, radius, places)),
            skin=self.skins.take(rng),
            printed=rng.random() < 0.6,
            shift=rng.choice([0, 0, 0.03]),
            turn=rng.choice([0, 0, 0.1]),
        )

    def photographs(
        self, rng: Generator, normal: int, spoilt: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Photographs of the scene, and the part that every pixel shows.

        The images (normal + spoilt, 3, SIZE, SIZE) are in [0, 1]. The labels (normal +
        spoilt, SIZE, SIZE) are 0 for the backdrop, k for part k, and -1 for a defect.
        """
        images = []
        labels = []
        for index in range(normal + spoilt):
            pose = self._pose(rng)
            image, label = self._draw(self.parts, pose)
            if index >= normal:
                changed = self._spoil(rng, image, pose)
                label = label.masked_fill(_differ(changed, image), -1)
                image = changed
            images.append(self._expose(rng, image))
            labels.append(label)
        return torch.stack(images), torch.stack(labels)

    def _pose(
        self, rng: Generator
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, torch.Tensor]]]:
        """Crop offset of the backdrop, and of every part with an affine map (2, 3)."""
        common = rng.uniform(-1, 1, 3) * (self.turn, self.shift, self.shift)
        room = SIDE - SIZE
        centre = np.full(2, room // 2)
        parts = []
        for part in self.parts:
            own = rng.uniform(-1, 1, 3) * (part.turn, part.shift, part.shift)
            turn, *shift = common + own
            offset = centre if part.printed else rng.integers(0, room, 2)
            parts.append((offset, _affine(turn, shift)))
        if self.printed:
            return centre + rng.integers(-3, 4, 2), parts
        return rng.integers(0, room, 2), parts

    def _draw(
        self, parts: list[Part], pose: tuple
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (3, SIZE, SIZE) without light and camera, and labels (SIZE, SIZE)."""
        behind, places = pose
        image = _crop(self.backdrop, behind)
        label = torch.zeros(SIZE, SIZE, dtype=torch.int8)
        if not parts:
            return image, label
        affines = torch.stack([affine for _, affine in places])
        grids = affine_grid(affines, [len(parts), 2, SIZE, SIZE], False)
        stored = torch.stack([part.form for part in parts])
        forms = grid_sample(stored, grids, align_corners=False)
        for k, part in enumerate(parts):
            offset, _ = places[k]
            mask, bevel = forms[k]
            skin = _crop(part.skin, offset) * (1 + bevel)
            image = image + mask * (skin - image)
            label[mask > 0.5] = k + 1
        return image.clamp(0, 1), label

    def _expose(self, rng: Generator, image: torch.Tensor) -> torch.Tensor:
        """The image under the scene's light, through its lens and with its noise."""
        ramp = torch.linspace(-1, 1, SIZE)
        brightness = 1 + rng.normal() * self.gain
        slope = rng.normal() * ramp + rng.normal() * ramp[:, None]
        light = brightness + self.light * slope / 2
        noise = rng.standard_normal((3, SIZE, SIZE), dtype=np.float32)
        grain = torch.from_numpy(noise)
        if self.blur:
            image = _blurred(image, self.blur * rng.uniform(0.8, 1.2))
        return (image * light + self.grain * grain).clamp(0, 1)

    def _spoil(self, rng: Generator, image: torch.Tensor, pose: tuple) -> torch.Tensor:
        """Image with one defect, of a part or of the surface.

        It is drawn again, up to five times, while nothing is to be seen.
        """
        changed = image
        for _ in range(5):
            if self.parts and rng.random() < 0.35:
                changed = self._misbuilt(rng, pose)
            else:
                changed = self._damaged(rng, image)
            if _differ(changed, image).sum() >= 12:
                break
        return changed

    def _misbuilt(self, rng: Generator, pose: tuple) -> torch.Tensor:
        """One part missing, moved, turned, bitten, grown or in another skin."""
        parts = list(self.parts)
        offset, places = pose
        places = list(places)
        k = rng.integers(len(parts))
        kind = rng.integers(5)
        bite = torch.from_numpy(spot(rng))
        form = parts[k].form
        if kind == 0:
            parts[k] = replace(parts[k], form=form * 0)
        elif kind == 1:
            moved = _affine(rng.uniform(-1, 1), rng.uniform(-0.3, 0.3, 2))
            places[k] = (places[k][0], moved)
        elif kind == 2:
            parts[k] = replace(parts[k], form=form * (1 - bite))
        elif kind == 3:
            grown = torch.stack([torch.maximum(form[0], bite), form[1]])
            parts[k] = replace(parts[k], form=grown)
        else:
            parts[k] = replace(parts[k], skin=self.skins.take(rng))
        image, _ = self._draw(parts, (offset, places))
        return image

    def _damaged(self, rng: Generator, image: torch.Tensor) -> torch.Tensor:
        """A spot of another colour, texture, place, shade, sharpness or geometry."""
        mask = torch.from_numpy(spot(rng))
        kind = rng.integers(6)
        if kind == 0:
            colour = rng.uniform(0, 1, (3, 1, 1)).astype(np.float32)
            other = torch.from_numpy(colour).expand_as(image)
        elif kind == 1:
            other = _crop(self.skins.take(rng), rng.integers(0, SIDE - SIZE, 2))
        elif kind == 2:
            shifts = tuple(rng.integers(8, SIZE - 8, 2).tolist())
            other = image.roll(shifts, (1, 2))
            other = other.rot90(int(rng.integers(4)), (1, 2))
        elif kind == 3:
            stops = rng.uniform(0.2, 1.5) * rng.choice([-1, 1])
            other = image * np.exp(stops)
        elif kind == 4:
            other = _blurred(image, rng.uniform(1.5, 4))
        else:
            return _bulged(rng, image)
        opacity = mask * rng.uniform(0.5, 1)
        return (image + opacity * (other - image)).clamp(0, 1)


def _differ(changed: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Pixels (SIZE, SIZE) whose colour changed visibly."""
    return (changed - image).abs().mean(0) > VISIBLE


def _affine(turn: float, shift: np.ndarray) -> torch.Tensor:
    cos = np.cos(turn)
    sin = np.sin(turn)
    rows = [[cos, -sin, shift[0]], [sin, cos, shift[1]]]
    return torch.tensor(rows, dtype=torch.float32)


def _crop(skin: torch.Tensor, offset: np.ndarray) -> torch.Tensor:
    top, left = offset
    return skin[:, top : top + SIZE, left : left + SIZE]


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    pixels = gaussian_filter(image.numpy(), (0, sigma, sigma), truncate=3)
    return torch.from_numpy(pixels)


def _bulged(rng: Generator, image: torch.Tensor) -> torch.Tensor:
    """Image with the content of a soft disc dragged aside."""
    x, y = rng.uniform(-0.8, 0.8, 2)
    radius = rng.uniform(0.08, 0.35)
    ramp = torch.linspace(-1 + 1 / SIZE, 1 - 1 / SIZE, SIZE)
    squares = (ramp - x) ** 2 + (ramp[:, None] - y) ** 2
    bump = torch.exp(-squares / (2 * (radius / 2) ** 2))
    drag = torch.from_numpy(rng.normal(0, radius / 2, 2).astype(np.float32))
    still = torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"), -1)
    grid = (still + bump[..., None] * drag)[None]
    dragged = grid_sample(
        image[None], grid, padding_mode="reflection", align_corners=False
    )
    return dragged[0]
