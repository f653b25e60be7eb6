"""Made-up categories: scenes of textured shapes, photographed again and again, some of
the time with a defect.
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
    """Corners (n, 2) around 0 of a random closed shape: an ellipse, a polygon, a star,
    a box or a soft blob.
    """
    kind, corners = rng.integers(4), rng.integers(3, 9)
    angle = np.linspace(
        0, 2 * np.pi, 48 if kind < 2 else corners * (1 + (kind == 2)), endpoint=False
    )
    reach = np.ones_like(angle)
    if kind == 1:
        waves = [
            rng.normal() * np.sin(k * angle + rng.uniform(0, 6)) / k
            for k in range(2, 7)
        ]
        reach += 0.4 * np.sum(waves, 0)
    if kind == 2:
        reach[1::2] = rng.uniform(0.4, 1)
    points = (
        radius
        * reach[:, None]
        * np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.3, 1)], -1)
    )
    turn = rng.uniform(0, 2 * np.pi)
    return points @ np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )


def walk(rng: Generator, length: float) -> np.ndarray:
    """Points (n, 2) of a path around 0, from straight to crooked."""
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(
        rng.normal(0, rng.choice([0.02, 0.2, 0.7]), 9)
    )
    steps = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), 0) * length / 9
    return steps - steps.mean(0)


def drawing(rng: Generator, radius: float, places: np.ndarray) -> np.ndarray:
    """A mask (SIZE, SIZE) in [0, 1]: one random shape, ring, bar or path of a radius in
    pixels at every place.
    """
    sheet = Image.new("L", (2 * SIZE, 2 * SIZE))
    pen, kind = (
        ImageDraw.Draw(sheet),
        rng.choice(["shape", "ring", "path"], p=[0.55, 0.15, 0.3]),
    )
    points = walk(rng, 3 * radius) if kind == "path" else outline(rng, radius)
    width, inner = radius * np.exp(rng.uniform(-2.5, -0.3)), rng.uniform(0.5, 0.85)
    for place in places:
        corners = [tuple(corner) for corner in 2 * (points + place)]
        if kind == "path":
            pen.line(corners, 255, round(max(2 * width, 2)), "curve")
            continue
        pen.polygon(corners, 255)
        if kind == "ring":
            pen.polygon([tuple(corner) for corner in 2 * (points * inner + place)], 0)
    return (
        np.asarray(sheet.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32) / 255
    )


def spot(rng: Generator) -> np.ndarray:
    """Where a defect is: a mask (SIZE, SIZE) of one mark, or some small ones, from
    specks to a third of the image.
    """
    size, centre = (
        np.exp(rng.uniform(np.log(2), np.log(16))),
        rng.uniform(0.1, 0.9, 2) * SIZE,
    )
    count = 1 if rng.random() < 0.8 else rng.integers(2, 8)
    mask = drawing(
        rng,
        size if count == 1 else min(size, 4),
        centre + rng.normal(0, 12, (count, 2)) * (count > 1),
    )
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
    """A stock of textures; each one taken is turned, mirrored, and has its colour
    channels shuffled and scaled.
    """

    def __init__(self, rng: Generator, count: int) -> None:
        self.stock = [
            torch.from_numpy((255 * texture(rng)).astype(np.uint8)).permute(2, 0, 1)
            for _ in range(count)
        ]

    def take(self, rng: Generator) -> torch.Tensor:
        """A texture (3, SIDE, SIDE) in [0, 1]."""
        skin = self.stock[rng.integers(len(self.stock))][rng.permutation(3)].rot90(
            int(rng.integers(4)), (1, 2)
        )
        skin = skin.flip(2) if rng.random() < 0.5 else skin
        scale = rng.uniform(0.8, 1.1) * rng.uniform(0.9, 1, (3, 1, 1)) / 255
        return skin * torch.from_numpy(scale.astype(np.float32))


def _form(rng: Generator, mask: np.ndarray) -> torch.Tensor:
    """The mask, and a bevel: light from one side on the blurred mask."""
    slope = np.gradient(gaussian_filter(mask, rng.uniform(1.5, 6)))
    bevel = rng.choice([0, 6]) * (slope[0] * rng.normal() + slope[1] * rng.normal())
    return torch.from_numpy(np.stack([mask, bevel]).astype(np.float32))


def _places(rng: Generator) -> tuple[np.ndarray, float]:
    """One place with a large radius, a lattice with a small one, or a handful in
    between.
    """
    kind = rng.random()
    if kind < 0.6:
        return rng.uniform(0.2, 0.8, (1, 2)) * SIZE, rng.uniform(8, 52)
    if kind < 0.8:
        pitch = rng.uniform(14, 40)
        return np.stack(
            np.mgrid[pitch / 2 : SIZE : pitch, pitch / 2 : SIZE : pitch], -1
        ).reshape(-1, 2), pitch * 0.35
    return rng.uniform(0.1, 0.9, (rng.integers(2, 8), 2)) * SIZE, rng.uniform(4, 16)


class Scene:
    """A category nobody has seen: a backdrop and up to five parts, with its own
    tolerances, light and camera.

    Args:
        rng: Decides everything that all photographs of the scene share.
        skins: Where textures come from.
    """

    def __init__(self, rng: Generator, skins: Skins) -> None:
        self.skins, self.backdrop, self.printed = (
            skins,
            skins.take(rng),
            rng.random() < 0.4,
        )
        self.parts = [
            self._part(rng)
            for _ in range(rng.choice([0, 1, 2, 3, 5], p=[0.25, 0.2, 0.25, 0.2, 0.1]))
        ]
        self.shift, self.turn = (
            rng.choice([0, 0.02, 0.08]),
            rng.choice([0, 0.03, 0.15, 3.2], p=[0.3, 0.3, 0.3, 0.1]),
        )
        self.light, self.gain, self.grain = (
            rng.uniform(0, 0.15),
            rng.uniform(0, 0.08),
            rng.uniform(0, 0.03),
        )
        self.blur = rng.choice([0, 0.5, 0.9])

    def _part(self, rng: Generator) -> Part:
        places, radius = _places(rng)
        form = _form(rng, drawing(rng, radius, places))
        return Part(
            form,
            self.skins.take(rng),
            rng.random() < 0.6,
            rng.choice([0, 0, 0.03]),
            rng.choice([0, 0, 0.1]),
        )

    def photographs(
        self, rng: Generator, normal: int, spoilt: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (normal + spoilt, 3, SIZE, SIZE) in [0, 1], and what every pixel
        shows.

        The labels (normal + spoilt, SIZE, SIZE) are 0 for the backdrop, k for part k,
        and -1 for a defect.
        """
        images, labels = [], []
        for index in range(normal + spoilt):
            pose = self._pose(rng)
            image, label = self._draw(self.parts, pose)
            if index >= normal:
                changed = self._spoil(rng, image, pose)
                label = label.masked_fill((changed - image).abs().mean(0) > VISIBLE, -1)
                image = changed
            images.append(self._expose(rng, image))
            labels.append(label)
        return torch.stack(images), torch.stack(labels)

    def _pose(
        self, rng: Generator
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, torch.Tensor]]]:
        """Crop offset of the backdrop, and for every part a crop offset and an affine
        map (2, 3).
        """
        common = rng.uniform(-1, 1, 3) * (self.turn, self.shift, self.shift)
        room = SIDE - SIZE
        parts = []
        for part in self.parts:
            turn, *shift = common + rng.uniform(-1, 1, 3) * (
                part.turn,
                part.shift,
                part.shift,
            )
            parts.append(
                (
                    np.full(2, room // 2) if part.printed else rng.integers(0, room, 2),
                    _affine(turn, shift),
                )
            )
        return np.full(2, room // 2) + rng.integers(
            -3, 4, 2
        ) if self.printed else rng.integers(0, room, 2), parts

    def _draw(
        self, parts: list[Part], pose: tuple
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The image (3, SIZE, SIZE) without light and camera, and its labels (SIZE,
        SIZE).
        """
        image, label = (
            _crop(self.backdrop, pose[0]),
            torch.zeros(SIZE, SIZE, dtype=torch.int8),
        )
        if not parts:
            return image, label
        grids = affine_grid(
            torch.stack([affine for _, affine in pose[1]]),
            [len(parts), 2, SIZE, SIZE],
            False,
        )
        forms = grid_sample(
            torch.stack([part.form for part in parts]), grids, align_corners=False
        )
        for k, (part, (offset, _), (mask, bevel)) in enumerate(
            zip(parts, pose[1], forms, strict=True), start=1
        ):
            image = image + mask * (_crop(part.skin, offset) * (1 + bevel) - image)
            label[mask > 0.5] = k
        return image.clamp(0, 1), label

    def _expose(self, rng: Generator, image: torch.Tensor) -> torch.Tensor:
        """The image under the scene's light, through its lens and with its noise."""
        ramp = torch.linspace(-1, 1, SIZE)
        light = (
            1
            + rng.normal() * self.gain
            + self.light * (rng.normal() * ramp + rng.normal() * ramp[:, None]) / 2
        )
        grain = torch.from_numpy(rng.standard_normal((3, SIZE, SIZE), dtype=np.float32))
        image = (
            _blurred(image, self.blur * rng.uniform(0.8, 1.2)) if self.blur else image
        )
        return (image * light + self.grain * grain).clamp(0, 1)

    def _spoil(self, rng: Generator, image: torch.Tensor, pose: tuple) -> torch.Tensor:
        """One defect, of a part or of the surface; drawn again, up to five times, while
        nothing is to be seen.
        """
        changed = image
        for _ in range(5):
            changed = (
                self._misbuilt(rng, pose)
                if self.parts and rng.random() < 0.35
                else self._damaged(rng, image)
            )
            if ((changed - image).abs().mean(0) > VISIBLE).sum() >= 12:
                break
        return changed

    def _misbuilt(self, rng: Generator, pose: tuple) -> torch.Tensor:
        """One part missing, moved, turned, bitten, grown or in another skin."""
        parts, (offset, places) = list(self.parts), (pose[0], list(pose[1]))
        k, kind = rng.integers(len(parts)), rng.integers(5)
        bite = torch.from_numpy(spot(rng))
        if kind == 0:
            parts[k] = replace(parts[k], form=parts[k].form * 0)
        elif kind == 1:
            places[k] = (
                places[k][0],
                _affine(rng.uniform(-1, 1), rng.uniform(-0.3, 0.3, 2)),
            )
        elif kind == 2:
            parts[k] = replace(parts[k], form=parts[k].form * (1 - bite))
        elif kind == 3:
            parts[k] = replace(
                parts[k],
                form=torch.stack(
                    [torch.maximum(parts[k].form[0], bite), parts[k].form[1]]
                ),
            )
        else:
            parts[k] = replace(parts[k], skin=self.skins.take(rng))
        return self._draw(parts, (offset, places))[0]

    def _damaged(self, rng: Generator, image: torch.Tensor) -> torch.Tensor:
        """A spot of another colour, texture, place, shade, sharpness or geometry."""
        mask, kind = torch.from_numpy(spot(rng)), rng.integers(6)
        if kind == 0:
            other = torch.from_numpy(
                rng.uniform(0, 1, (3, 1, 1)).astype(np.float32)
            ).expand_as(image)
        elif kind == 1:
            other = _crop(self.skins.take(rng), rng.integers(0, SIDE - SIZE, 2))
        elif kind == 2:
            other = image.roll(
                tuple(rng.integers(8, SIZE - 8, 2).tolist()), (1, 2)
            ).rot90(int(rng.integers(4)), (1, 2))
        elif kind == 3:
            other = image * np.exp(rng.uniform(0.2, 1.5) * rng.choice([-1, 1]))
        elif kind == 4:
            other = _blurred(image, rng.uniform(1.5, 4))
        else:
            return _bulged(rng, image)
        return (image + mask * rng.uniform(0.5, 1) * (other - image)).clamp(0, 1)


def _affine(turn: float, shift: np.ndarray) -> torch.Tensor:
    cos, sin = np.cos(turn), np.sin(turn)
    return torch.tensor(
        [[cos, -sin, shift[0]], [sin, cos, shift[1]]], dtype=torch.float32
    )


def _crop(skin: torch.Tensor, offset: np.ndarray) -> torch.Tensor:
    return skin[:, offset[0] : offset[0] + SIZE, offset[1] : offset[1] + SIZE]


def _blurred(image: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(
        gaussian_filter(image.numpy(), (0, sigma, sigma), truncate=3)
    )


def _bulged(rng: Generator, image: torch.Tensor) -> torch.Tensor:
    """The content of a soft disc is dragged aside."""
    centre, radius = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.08, 0.35)
    ramp = torch.linspace(-1 + 1 / SIZE, 1 - 1 / SIZE, SIZE)
    bump = torch.exp(
        -((ramp - centre[0]) ** 2 + (ramp[:, None] - centre[1]) ** 2)
        / (2 * (radius / 2) ** 2)
    )
    drag = torch.from_numpy(rng.normal(0, radius / 2, 2).astype(np.float32))
    grid = (
        torch.stack(torch.meshgrid(ramp, ramp, indexing="xy"), -1)
        + bump[..., None] * drag
    )
    return grid_sample(
        image[None], grid[None], padding_mode="reflection", align_corners=False
    )[0]
