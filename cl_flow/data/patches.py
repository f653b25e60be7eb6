"""Patches of earlier classes, kept or made up.

Batches are drawn from them with every class equally likely.
"""

__all__ = ["Batch", "Choice", "ImagePool", "PatchPool", "stored"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.devices import send


@dataclass(frozen=True)
class Batch:
    """Batch of one step.

    Per level the patches (N, D) and their grid cells (N,) or None, and a class id per
    image.

    The patches of an image are consecutive: N is a multiple of the number of images B.
    The first `own` images are the task's, all of them by default; the others are
    rehearsed. Unless these are `taught`, HGAD's losses are taken over the task's alone,
    and only the penalty sees the others.
    """

    x: list[Tensor]
    index: list[Tensor | None]
    y: Tensor
    own: int | None = None
    taught: bool = True

    def rehearsed(self, values: Tensor) -> Tensor:
        """Rows of a tensor (N, …) that belong to rehearsed images.

        Those beyond `own`, one row a patch, or one an image.
        """
        return values[len(values) * len(self.y[: self.own]) // len(self.y) :]

    def rehearsal(self) -> "Batch":
        """The rehearsed images alone."""
        x = [self.rehearsed(values) for values in self.x]
        index = [None if c is None else self.rehearsed(c) for c in self.index]
        return Batch(x, index, self.rehearsed(self.y))


class Choice(NamedTuple):
    """Patches of a pool that a step reads.

    Args:
        rows: Per level their rows in the pool (N,).
        y: Class of each image (B,).
    """

    rows: list[Tensor]
    y: Tensor


@dataclass(frozen=True)
class PatchPool:
    """Per level the patches of classes 0 … K−1, class after class.

    Args:
        x: Patches (M, D).
        cells: Grid cell of each patch (M,).
        counts: Patches of each class (K,).
        seen: Patches of each class that were seen (K,), of which these are a sample,
            where more of a class may come; empty where none does.
    """

    x: list[Tensor]
    cells: list[Tensor]
    counts: list[Tensor]
    seen: list[Tensor] = field(default_factory=list)

    unit: ClassVar[str] = "a patch"

    @classmethod
    def of(
        cls, features: Features, categories: Sequence[str], generator: torch.Generator
    ) -> "PatchPool":
        """Take all patches of these categories as stored on file.

        Those of each class in random order.
        """
        levels = [
            _shuffled(features.where(category=name), generator) for name in categories
        ]
        x, cells = (
            [[pair[i] for pair in level] for level in zip(*levels)] for i in (0, 1)
        )
        return cls(
            [torch.cat(parts) for parts in x],
            [torch.cat(parts) for parts in cells],
            [torch.tensor([len(part) for part in parts]) for parts in x],
        )

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.counts[0])

    def joined(self, other: "PatchPool", generator: torch.Generator) -> "PatchPool":
        """These patches and another pool's, of the same classes or more.

        Those of a class of both follow each other as in a shuffle of all that was
        `seen` of it, as far as they are here: the first of them are a uniform sample,
        if they are no more than were kept here.
        """
        x, cells, counts = [], [], []
        for i, orders in enumerate(self._orders(other, generator)):
            sizes = (_padded(self.counts[i], other.n_classes), other.counts[i])
            x.append(_merged((self.x[i], other.x[i]), sizes, orders))
            cells.append(_merged((self.cells[i], other.cells[i]), sizes, orders))
            counts.append(torch.tensor([len(order) for order in orders]))
        pairs = zip(self.seen, other.seen)
        seen = [_padded(n, other.n_classes) + more for n, more in pairs]
        return type(self)(x, cells, counts, seen)

    def _orders(
        self, other: "PatchPool", generator: torch.Generator
    ) -> list[list[Tensor]]:
        """Per level and class the order of its patches here and in another pool."""
        return [
            [_interleaved(*ns, generator) for ns in self._numbers(other, i)]
            for i in range(len(self.x))
        ]

    def _numbers(
        self, other: "PatchPool", i: int, size: int = 1
    ) -> list[tuple[int, int, int]]:
        """Of each class of a level, those seen and kept here and those in another pool.

        As patches, or as images of so many.
        """
        seen = (self.seen or self.counts)[i]
        mine = (_padded(n, other.n_classes) for n in (seen, self.counts[i]))
        seen, kept, new = ((n // size).tolist() for n in (*mine, other.counts[i]))
        return list(zip(seen, kept, new))

    def first(self, quotas: Sequence[int]) -> "PatchPool":
        """Keep the first patches of each class.

        As many as each level's quota allows.
        """
        x = []
        cells = []
        counts = []
        for quota, level_x, level_cells, level_counts in zip(
            quotas, self.x, self.cells, self.counts
        ):
            sizes = level_counts.tolist()
            x.append(torch.cat([part[:quota] for part in level_x.split(sizes)]))
            cells.append(torch.cat([part[:quota] for part in level_cells.split(sizes)]))
            counts.append(level_counts.clamp(max=quota))
        return type(self)(x, cells, counts, self.seen)

    def draw(
        self, n_images: int, n_patches: Sequence[int], generator: torch.Generator
    ) -> Batch:
        """Draw so many images, each of one class, with replacement.

        Each has so many patches per level.
        """
        return self.take(self.choose(n_images, n_patches, generator))

    def choose(
        self, n_images: int, n_patches: Sequence[int], generator: torch.Generator
    ) -> Choice:
        """Decide what `draw` takes, on the CPU, and send it to the pool's device."""
        y = torch.randint(self.n_classes, (n_images,), generator=generator)
        device = self.x[0].device
        chosen = []
        for counts, n in zip(self.counts, n_patches):
            size = counts[y][:, None]
            begin = (counts.cumsum(0) - counts)[y][:, None]
            nth = (
                torch.rand(n_images, n, generator=generator, dtype=torch.float64) * size
            ).long()
            chosen.append(send((begin + nth).flatten(), device))
        return Choice(chosen, send(y, device))

    def take(self, choice: Choice) -> Batch:
        """The patches chosen, in single precision."""
        xs = [x[rows].float() for x, rows in zip(self.x, choice.rows)]
        index: list[Tensor | None] = [
            cells[rows].long() for cells, rows in zip(self.cells, choice.rows)
        ]
        return Batch(xs, index, choice.y)

    def to(self, device: torch.device) -> "PatchPool":
        """The patches on a device.

        The counts stay, as what is drawn is decided on the CPU.
        """
        return type(self)(
            [x.to(device) for x in self.x],
            [cells.to(device) for cells in self.cells],
            self.counts,
            self.seen,
        )

    def tensors(self) -> dict[str, Tensor]:
        """As a strategy keeps it in `memory`."""
        columns = {"x": self.x, "cells": self.cells, "counts": self.counts}
        columns["seen"] = self.seen
        return {
            f"{name}{i}": values
            for name, levels in columns.items()
            for i, values in enumerate(levels)
        }


class ImagePool(PatchPool):
    """Pool of whole images: the patches of each are consecutive, cell after cell."""

    unit = "an image"

    @classmethod
    def of(
        cls, features: Features, categories: Sequence[str], generator: torch.Generator
    ) -> "ImagePool":
        """Take the images of these categories, those of each in random order."""
        images = [features.where(category=name) for name in categories]
        orders = [torch.randperm(len(one), generator=generator) for one in images]
        shuffled = [one.take(order.numpy()) for one, order in zip(images, orders)]
        x = [[part.flatten(0, 1) for part in one.read()] for one in shuffled]
        sizes = [level.shape[1] for level in features.levels]
        cells = [torch.arange(n, dtype=torch.int16) for n in sizes]
        return cls(
            [torch.cat(parts) for parts in zip(*x)],
            [own.repeat(sum(map(len, images))) for own in cells],
            [torch.tensor([n * len(one) for one in images]) for n in sizes],
        )

    def _orders(
        self, other: "PatchPool", generator: torch.Generator
    ) -> list[list[Tensor]]:
        """Whole images follow each other, in the same order at every level."""
        sizes = self._sizes()
        numbers = self._numbers(other, 0, sizes[0])
        images = [_interleaved(*ns, generator) for ns in numbers]
        return [
            [(own[:, None] * n + torch.arange(n)).flatten() for own in images]
            for n in sizes
        ]

    def first(self, quotas: Sequence[int]) -> "PatchPool":
        """Keep the first images of each class, the same ones at every level."""
        sizes = self._sizes()
        n_images = min(quota // n for quota, n in zip(quotas, sizes))
        return super().first([n_images * n for n in sizes])

    def choose(
        self, n_images: int, n_patches: Sequence[int], generator: torch.Generator
    ) -> Choice:
        y = torch.randint(self.n_classes, (n_images,), generator=generator)
        sizes = self._sizes()
        n_kept = self.counts[0][y] // sizes[0]
        drawn = torch.rand(n_images, generator=generator, dtype=torch.float64)
        nth = (drawn * n_kept).long()
        device = self.x[0].device
        rows = []
        for counts, n in zip(self.counts, sizes):
            begin = (counts.cumsum(0) - counts)[y] + nth * n
            rows.append(send((begin[:, None] + torch.arange(n)).flatten(), device))
        return Choice(rows, send(y, device))

    def _sizes(self) -> list[int]:
        """Patches of an image at each level."""
        return [int(cells.max()) + 1 for cells in self.cells]


def stored(
    memory: Mapping[str, Tensor], kind: type[PatchPool] = PatchPool
) -> PatchPool:
    """The bag that a strategy keeps in its memory."""
    n_levels = sum(name.startswith("counts") for name in memory)
    return kind(
        *(
            [memory[f"{name}{i}"] for i in range(n_levels) if f"{name}{i}" in memory]
            for name in ("x", "cells", "counts", "seen")
        )
    )


def _padded(counts: Tensor, n_classes: int) -> Tensor:
    """Numbers of classes (K,), with those of later classes, 0 each."""
    return F.pad(counts, (0, n_classes - len(counts)))


def _merged(
    columns: tuple[Tensor, Tensor],
    counts: tuple[Tensor, Tensor],
    orders: Sequence[Tensor],
) -> Tensor:
    """Rows of two pools class by class, those of each class in an order."""
    mine, theirs = (c.split(n.tolist()) for c, n in zip(columns, counts))
    pairs = zip(mine, theirs, orders)
    return torch.cat([torch.cat([a, b])[order] for a, b, order in pairs])


def _interleaved(
    n_seen: int, n_kept: int, n_new: int, generator: torch.Generator
) -> Tensor:
    """Order of kept ones, and of new ones numbered after them, in a shuffle of all.

    It is that of n_seen, the first n_kept of which are kept, and n_new, and ends before
    the first that is not.
    """
    if not (n_seen and n_new):
        return torch.arange(n_kept + n_new)
    is_new = torch.randperm(n_seen + n_new, generator=generator) >= n_seen
    old = (~is_new).cumsum(0) - 1
    new = is_new.cumsum(0) - 1 + n_kept
    return torch.where(is_new, new, old)[old < n_kept]


def _shuffled(
    images: Features, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Patches (M, D) and cells (M,) of images in random order, per level."""
    out = []
    for level, (h, w) in zip(images.levels, images.grids):
        order = torch.randperm(len(images) * h * w, generator=generator)
        image = order // (h * w)
        cell = order % (h * w)
        out.append(
            (
                torch.from_numpy(level[images.rows[image.numpy()], cell.numpy()]),
                cell.to(torch.int16),
            )
        )
    return out
