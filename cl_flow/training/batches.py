"""Batches of cached features, drawn from one seeded generator."""

__all__ = ["Loader", "Rehearsal"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.model.flow import FlowModel
from cl_flow.training.config import TrainConfig


@dataclass(frozen=True)
class Rehearsal:
    """Patches of earlier classes that take a share of every batch.

    Remembered or made up.

    An epoch stays one pass over the task's own images: with fewer of them in a batch it
    has more steps.

    Args:
        share: Of the images in a batch, above 0 and below 1.
        draw: Makes so many images of so many patches per level, from a generator on the
            CPU.
        taught: Whether HGAD's losses are taken over them as well, or only the penalty
            sees them.
    """

    share: float
    draw: Callable[[int, list[int], torch.Generator], Batch]
    taught: bool = True


class Loader:
    """Batches of images, and of patches within them.

    All draws come from one seeded generator.
    """

    # Features below this many bytes are kept in memory for the whole task.
    in_memory = 2 << 30

    def __init__(
        self,
        model: FlowModel,
        data: Features,
        config: TrainConfig,
        rehearsal: Rehearsal | None,
        seed: int,
    ) -> None:
        if not len(data) or config.batch_images < 1 or config.epochs < 0:
            raise ValueError(
                f"Expected images, a batch and a number of epochs; got {len(data)} "
                "images, batch_images = "
                f"{config.batch_images}, epochs = {config.epochs}."
            )
        self.data = data
        self.config = config
        self.rehearsal = rehearsal
        self.batch_images = (
            config.batch_images
            if rehearsal is None
            else _own_images(config.batch_images, rehearsal)
        )
        self.cells = [len(level.codes) for level in model.levels]
        self.device = model.levels[0].codes.device
        self.y = model.class_ids(list(data.samples["category"]))
        self.generator = torch.Generator().manual_seed(seed)
        size = sum(level[0].nbytes for level in data.levels) * len(data)
        self.cached = (
            [x.to(self.device) for x in data.read()] if size < self.in_memory else None
        )

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.data) // self.batch_images)

    def epoch(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.data), generator=self.generator)
        for step in range(self.steps_per_epoch):
            batch = self._batch(order[step * self.batch_images :][: self.batch_images])
            if self.rehearsal is not None:
                batch = self._rehearsed(batch, self.rehearsal)
            yield batch

    def _batch(self, images: Tensor) -> Batch:
        drawn = [self._draw(level, images) for level in range(len(self.cells))]
        return Batch(
            [x for x, _ in drawn],
            [index for _, index in drawn],
            self.y[images.to(self.device)],
        )

    def _draw(self, level: int, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches (N, D) in single precision and their cells.

        Whole grids when the draw would take every cell.
        """
        n = self.config.batch_patches
        n_cells = self.cells[level]
        if n is None or n >= n_cells:
            if self.cached:
                x = self.cached[level][images.to(self.device)]
            else:
                x = self._on_file(level, images, None)
            return x.flatten(0, 1).float(), None
        keys = torch.rand(len(images), n_cells, generator=self.generator)
        index = keys.topk(n, dim=1, sorted=False).indices
        cells = index.flatten().to(self.device)
        if self.cached:
            rows = images[:, None] * n_cells + index
            patches = self.cached[level].flatten(0, 1)
            x = patches.index_select(0, rows.flatten().to(self.device))
        else:
            x = self._on_file(level, images, index).flatten(0, 1)
        return x.float(), cells

    def _on_file(self, level: int, images: Tensor, index: Tensor | None) -> Tensor:
        """Read the patches of images (B, n, D), or those at the cells (B, n).

        No more than these are read.
        """
        rows = self.data.rows[images.numpy()]
        at = rows if index is None else (rows[:, None], index.numpy())
        patches = np.asarray(self.data.levels[level][at])
        return torch.from_numpy(patches).to(self.device)

    def _rehearsed(self, batch: Batch, rehearsal: Rehearsal) -> Batch:
        """Batch followed by the images that are rehearsed with it."""
        n_patches = [len(x) // len(batch.y) for x in batch.x]
        n_images = self.config.batch_images - self.batch_images
        extra = rehearsal.draw(n_images, n_patches, self.generator)
        x = [torch.cat(pair) for pair in zip(batch.x, extra.x)]
        index: list[Tensor | None] = []
        for n, own, more in zip(self.cells, batch.index, extra.index):
            before = self._cells_of(own, n, len(batch.y))
            index.append(torch.cat([before, self._cells_of(more, n, n_images)]))
        y = torch.cat([batch.y, extra.y])
        return Batch(x, index, y, None if rehearsal.taught else len(batch.y))

    def _cells_of(self, index: Tensor | None, n_cells: int, n_images: int) -> Tensor:
        """Cells of patches, those of whole grids too."""
        if index is not None:
            return index
        return torch.arange(n_cells, device=self.device).repeat(n_images)


def _own_images(batch_images: int, rehearsal: Rehearsal) -> int:
    """Images of a batch that are the task's own.

    At least one is, and at least one is not.
    """
    if batch_images < 2 or not 0 < rehearsal.share < 1:
        raise ValueError(
            "Expected a share between 0 and 1 of two images or more; got "
            f"{rehearsal.share} of {batch_images}."
        )
    return batch_images - min(
        max(1, round(rehearsal.share * batch_images)), batch_images - 1
    )
