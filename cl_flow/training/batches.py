"""Batches of cached features, drawn from one seeded generator."""

__all__ = ["Loader", "Rehearsal"]

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.data.inference import ahead
from cl_flow.data.patches import Batch, Choice, PatchPool
from cl_flow.devices import send
from cl_flow.model.base import Model
from cl_flow.model.reconstruction.uniad import UniADConfig
from cl_flow.training.config import TrainConfig


@dataclass(frozen=True)
class Rehearsal:
    """Patches of earlier classes that take a share of every batch.

    Remembered or made up.

    An epoch stays one pass over the task's own images: with fewer of them in a batch it
    has more steps.

    Args:
        share: Of the images in a batch, above 0 and below 1.
        pool: The patches, on the model's device; every class is equally likely.
        taught: Whether HGAD's losses are taken over them as well, or only the penalty
            sees them.
    """

    share: float
    pool: PatchPool
    taught: bool = True


class _Draw(NamedTuple):
    """What the steps of one pass over the images read.

    Args:
        images: Positions of a step's images (steps, B).
        cells: Per level the cells drawn of each image (steps, B, n), or None for whole
            grids.
        rehearsed: What is rehearsed in each step.
    """

    images: Tensor
    cells: list[Tensor | None]
    rehearsed: list[Choice]


class Loader:
    """Batches of images, and of patches within them.

    All draws come from one seeded generator on the CPU, so that every device trains on
    the same batches in the same order. A pass is drawn as a whole and sent as a whole:
    a GPU waits for no step's draws.

    Args:
        model: What is trained; its device is where batches are wanted.
        data: Normal images.
        config: How many images and patches, and how often.
        rehearsal: What is mixed into every batch.
        seed: Of the draws.
    """

    # Features below this many bytes are kept in memory for the whole task of a CPU; a
    # GPU keeps what half of its free memory holds.
    in_memory = 2 << 30

    def __init__(
        self,
        model: Model,
        data: Features,
        config: TrainConfig | UniADConfig,
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
        self.cells = [height * width for height, width in model.grids]
        self.device = model.device
        self.y = model.class_ids(list(data.samples["category"]))
        self.generator = torch.Generator().manual_seed(seed)
        size = sum(level[0].nbytes for level in data.levels) * len(data)
        with _FILLING:  # of several runs on one card, each sees what is left
            fits = size < _memory(self.device, self.in_memory)
            self.cached = _kept(data, self.device) if fits else None
        self._left = 0
        self._next: _Draw | None = None

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.data) // self.batch_images)

    def epochs(self) -> Iterator[Iterator[Batch]]:
        """The batches of each pass over the images."""
        for left in reversed(range(self.config.epochs)):
            self._left = left
            draw = self._next or self._draw()
            self._next = None
            yield self._batches(draw)

    def draw_ahead(self) -> None:
        """Draw what the next pass reads, while a GPU is still at this one."""
        if self._left:
            self._next = self._draw()

    # ---- draws, on the CPU

    def _draw(self) -> _Draw:
        order = torch.randperm(len(self.data), generator=self.generator)
        n_steps = self.steps_per_epoch
        images = order[: n_steps * self.batch_images].view(n_steps, -1)
        steps = [self._draw_step(images.shape[1]) for _ in range(n_steps)]
        cells = [self._sent(level) for level in zip(*(own for own, _ in steps))]
        rehearsed = [choice for _, choice in steps if choice is not None]
        return _Draw(images, cells, rehearsed)

    def _sent(self, cells: Sequence[Tensor | None]) -> Tensor | None:
        """Cells of every step in one tensor."""
        drawn = [own for own in cells if own is not None]
        return send(torch.stack(drawn), self.device) if drawn else None

    def _draw_step(self, n_images: int) -> tuple[list[Tensor | None], Choice | None]:
        cells = [self._draw_cells(n_images, n) for n in self.cells]
        if self.rehearsal is None:
            return cells, None
        n_patches = [
            n if own is None else own.shape[1] for n, own in zip(self.cells, cells)
        ]
        n_extra = self.config.batch_images - self.batch_images
        pool = self.rehearsal.pool
        return cells, pool.choose(n_extra, n_patches, self.generator)

    def _draw_cells(self, n_images: int, n_cells: int) -> Tensor | None:
        """Cells (B, n) of each image; None where the draw would take every cell."""
        n = self.config.batch_patches
        if n is None or n >= n_cells:
            return None
        keys = torch.rand(n_images, n_cells, generator=self.generator)
        return keys.topk(n, dim=1, sorted=False).indices

    # ---- batches, where the model is

    def _batches(self, draw: _Draw) -> Iterator[Batch]:
        for step, (x, images) in enumerate(self._patches(draw)):
            index = [None if c is None else c[step].flatten() for c in draw.cells]
            batch = Batch([values.float() for values in x], index, self.y[images])
            if self.rehearsal is not None:
                batch = self._rehearsed(batch, self.rehearsal, draw.rehearsed[step])
            yield batch

    def _patches(self, draw: _Draw) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Per step the patches (N, D) of each level, and the images' positions (B,)."""
        images = send(draw.images, self.device)
        if self.cached is None:
            yield from zip(self._on_file(draw), images)
            return
        for step, own in enumerate(images):
            cells = [None if c is None else c[step] for c in draw.cells]
            yield [_rows(x, own, c) for x, c in zip(self.cached, cells)], own

    def _on_file(self, draw: _Draw) -> Iterator[list[Tensor]]:
        """Patches (N, D) of each step and level, read from file.

        No more than these are read. A GPU's are read a step ahead and sent beside what
        it computes.
        """
        cells = [None if c is None else c.cpu() for c in draw.cells]

        def read(step: int) -> list[Tensor]:
            rows = self.data.rows[draw.images[step].numpy()]
            out = []
            for level, own in zip(self.data.levels, cells):
                at = rows if own is None else (rows[:, None], own[step].numpy())
                patches = torch.from_numpy(np.asarray(level[at]))
                out.append(send(patches.flatten(0, 1), self.device))
            return out

        if self.device.type == "cpu":
            yield from map(read, range(len(draw.images)))
        else:
            yield from _ahead(read, len(draw.images), self.device)

    def _rehearsed(self, batch: Batch, rehearsal: Rehearsal, choice: Choice) -> Batch:
        """Batch followed by the images that are rehearsed with it."""
        extra = rehearsal.pool.take(choice)
        x = [torch.cat(pair) for pair in zip(batch.x, extra.x)]
        index: list[Tensor | None] = []
        for n, own, more in zip(self.cells, batch.index, extra.index):
            before = self._cells_of(own, n, len(batch.y))
            index.append(torch.cat([before, self._cells_of(more, n, len(extra.y))]))
        y = torch.cat([batch.y, extra.y])
        return Batch(x, index, y, len(batch.y), rehearsal.taught)

    def _cells_of(self, index: Tensor | None, n_cells: int, n_images: int) -> Tensor:
        """Cells of patches, those of whole grids too."""
        if index is not None:
            return index
        return torch.arange(n_cells, device=self.device).repeat(n_images)


_FILLING = threading.Lock()


def _memory(device: torch.device, on_cpu: int) -> int:
    """Bytes that a task's features may take: on a GPU, half of what is free there."""
    if device.type != "cuda":
        return on_cpu
    free, _ = torch.cuda.mem_get_info(device)
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + idle) // 2


def _kept(data: Features, device: torch.device) -> list[Tensor]:
    """All features on a device; a CPU holds no more than some images on the way."""
    if device.type == "cpu":
        return data.read()
    out = []
    for level in data.levels:
        one = torch.from_numpy(np.asarray(level[:1]))
        out.append(one.new_empty(len(data), *one.shape[1:], device=device))
    begin = 0
    for batch in data.batches(256):
        for kept, x in zip(out, batch):
            kept[begin : begin + len(x)] = x.to(device)
        begin += len(batch[0])
    return out


def _rows(x: Tensor, images: Tensor, cells: Tensor | None) -> Tensor:
    """Patches (N, D) of features (images, S, D): whole grids, or at cells (B, n)."""
    if cells is None:
        return x[images].flatten(0, 1)
    rows = images[:, None] * x.shape[1] + cells
    return x.flatten(0, 1).index_select(0, rows.flatten())


def _ahead(
    read: Callable[[int], list[Tensor]], n_steps: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """What `read` sends to a GPU, each step read while the one before is computed."""
    # Of torch's other pool: no lane is among them, and so nothing is recorded there.
    beside = torch.cuda.Stream(device, priority=-1)
    now = torch.cuda.current_stream(device)

    def sent(step: int) -> list[Tensor]:
        with torch.cuda.stream(beside):
            return read(step)

    with ThreadPoolExecutor(1) as reader:
        for patches in ahead(reader, sent, range(n_steps), 1):
            now.wait_stream(beside)
            for x in patches:
                x.record_stream(now)
            yield patches


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
