"""One task's training: batches of cached features, HGAD's losses, Adam under warm-up and cosine decay."""

__all__ = ["Batch", "Penalty", "Rehearsal", "TrainConfig", "train"]

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cl_flow.adam import FusedAdam
from cl_flow.coupling import reuse_memory
from cl_flow.features import Features
from cl_flow.flow import FlowModel, trainable
from cl_flow.losses import LossConfig, hgad_losses, hgad_total
from cl_flow.threads import threads as use_threads


@dataclass(frozen=True)
class TrainConfig:
    """How a task is trained; the defaults are HGAD's.

    Args:
        epochs: Passes over the task's images (HGAD: 25 meta-epochs of 8).
        batch_images: Images per step.
        batch_patches: Patches drawn at random per image and level; None takes whole images.
        lr: Peak learning rate.
        betas: Adam's.
        weight_decay: Coupled decay of the flow's weights; mixtures have none.
        warmup: Share of the steps over which the rate rises linearly from a tenth.
        final_lr: Rate at the end of the cosine, as a share of the peak.
        inter_only: Share of the steps before the losses within a class begin (HGAD: 2 of 25).
        losses: Weights of the terms.
    """

    epochs: int = 200
    batch_images: int = 8
    batch_patches: int | None = None
    lr: float = 2e-4
    betas: tuple[float, float] = (0.95, 0.99)
    weight_decay: float = 1e-4
    warmup: float = 0.08
    final_lr: float = 1e-3
    inter_only: float = 0.08
    losses: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True)
class Batch:
    """What one step sees: per level the patches (N, D) and their grid cells (N,) or None, and a class id per image.

    The patches of an image are consecutive: N is a multiple of the number of images B. HGAD's losses are taken over the
    first `taught` images, all of them by default; the others are there for the penalty.
    """

    x: list[Tensor]
    index: list[Tensor | None]
    y: Tensor
    taught: int | None = None

    def untaught(self, values: Tensor) -> Tensor:
        """The rows of a tensor (N, …), one a patch, that belong to the images beyond `taught`."""
        return values[len(values) * len(self.y[: self.taught]) // len(self.y) :]


Penalty = Callable[[FlowModel, Batch, list[tuple[Tensor, Tensor]]], Tensor]


@dataclass(frozen=True)
class Rehearsal:
    """Patches of earlier classes that take a share of every batch, remembered or made up.

    An epoch stays one pass over the task's own images: with fewer of them in a batch it has more steps.

    Args:
        share: Of the images in a batch, above 0 and below 1.
        draw: Makes so many images of so many patches per level, from a generator on the CPU.
        taught: Whether HGAD's losses are taken over them as well, or only the penalty sees them.
    """

    share: float
    draw: Callable[[int, list[int], torch.Generator], Batch]
    taught: bool = True


def train(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    *,
    penalty: Penalty | None = None,
    rehearsal: Rehearsal | None = None,
    midway: Callable[[FlowModel], None] | None = None,
    watch: Callable[[int, FlowModel], None] | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: bool | str = True,
) -> pd.DataFrame:
    """Train the model in place on normal images, and return its losses.

    Args:
        model: A model that has a class for every category of the data.
        data: Features of normal images.
        config: How to train.
        penalty: Added to the loss of each step: a function of model, batch and, per level, (z, log_det).
        rehearsal: Patches of earlier classes to mix into every batch.
        midway: Called once with the model, when half of the steps are taken.
        watch: Called with the number of steps taken and the model, before the first step and after each one; what it
            measures leaves the training to the bit, as long as it leaves the model.
        seed: Order of images and draw of patches.
        threads: Processor threads on a CPU. One gives the same bytes on any number of cores, and the products in a step
            of a small model are not worth splitting.
        progress: Whether to show a bar, or its title.

    Returns:
        One row per epoch, level and term: `epoch level term value`, means over the epoch.

    Raises:
        ValueError: Fewer images than one, or a patch count beyond the grid.
        FloatingPointError: The loss is no longer finite.
    """
    with use_threads(threads), reuse_memory():
        records = _epochs(model, data, config, penalty, rehearsal, midway, watch, seed, progress)
    model.eval()
    return pd.DataFrame(records, columns=["epoch", "level", "term", "value"])


def _epochs(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    penalty: Penalty | None,
    rehearsal: Rehearsal | None,
    midway: Callable[[FlowModel], None] | None,
    watch: Callable[[int, FlowModel], None] | None,
    seed: int,
    progress: bool | str,
) -> list[tuple[int, int, str, float]]:
    model.train()
    loader = _Loader(model, data, config, rehearsal, seed)
    optimizer = FusedAdam(trainable(model, weight_decay=config.weight_decay), betas=config.betas)
    n_steps = config.epochs * loader.steps_per_epoch
    begin_intra = round(config.inter_only * n_steps)
    records: list[tuple[int, int, str, float]] = []
    title = progress if isinstance(progress, str) else "training"
    if watch is not None:
        watch(0, model)
    with tqdm(total=n_steps, desc=title, unit="step", disable=not progress) as bar:
        for epoch in range(config.epochs):
            sums: dict[tuple[int, str], list[Tensor]] = {}
            for step, batch in enumerate(loader.epoch(), epoch * loader.steps_per_epoch):
                _differentiate(model, batch, config, step >= begin_intra, penalty, sums)
                optimizer.step(config.lr * _rate(step / n_steps, config))
                bar.update()
                if midway is not None and step + 1 == max(1, n_steps // 2):
                    midway(model)
                if watch is not None:
                    watch(step + 1, model)
            records += _means(epoch, sums)
    return records


def _differentiate(
    model: FlowModel,
    batch: Batch,
    config: TrainConfig,
    intra: bool,
    penalty: Penalty | None,
    sums: dict[tuple[int, str], list[Tensor]],
) -> None:
    """The gradient of one step over all levels; each level's terms are kept on the device until the epoch ends."""
    total, latents = 0.0, []
    for i, (level, x, index) in enumerate(zip(model.levels, batch.x, batch.index)):
        z, log_det = level(x, index, batch.y)
        taught = (z, log_det, batch.y) if batch.taught is None else _taught(z, log_det, batch)
        terms = hgad_losses(level.mixture, *taught, intra=intra, label_smoothing=config.losses.label_smoothing)
        total = total + hgad_total(terms, config.losses)
        latents.append((z, log_det))
        for name, value in terms.items():
            sums.setdefault((i, name), []).append(value.detach())
    if penalty is not None:
        extra = penalty(model, batch, latents)
        total = total + extra
        sums.setdefault((-1, "penalty"), []).append(extra.detach())
    total.backward()


def _taught(z: Tensor, log_det: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    n = len(z) * batch.taught // len(batch.y)
    return z[:n], log_det[:n], batch.y[: batch.taught]


def _means(epoch: int, sums: dict[tuple[int, str], list[Tensor]]) -> list[tuple[int, int, str, float]]:
    rows = [(epoch, level, term, torch.stack(values).mean().item()) for (level, term), values in sums.items()]
    broken = [f"{term} of level {level}" for _, level, term, value in rows if not math.isfinite(value)]
    if broken:
        raise FloatingPointError(f"Expected finite losses; got {', '.join(broken)} in epoch {epoch}. Lower the rate.")
    return rows


def _rate(progress: float, config: TrainConfig) -> float:
    """Share of the peak learning rate after a share of the steps: cosine, and below it a linear warm-up."""
    cosine = config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * progress)) / 2
    if progress >= config.warmup:
        return cosine
    end = config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * config.warmup)) / 2
    return 0.1 + (end - 0.1) * progress / config.warmup


class _Loader:
    """Draws batches of images, and of patches within them, from one seeded generator."""

    in_memory = 2 << 30  # features below this many bytes are kept in memory for the whole task

    def __init__(
        self, model: FlowModel, data: Features, config: TrainConfig, rehearsal: Rehearsal | None, seed: int
    ) -> None:
        if not len(data) or config.batch_images < 1 or config.epochs < 0:
            raise ValueError(
                f"Expected images, a batch and a number of epochs; got {len(data)} images, batch_images = "
                f"{config.batch_images}, epochs = {config.epochs}."
            )
        self.data, self.config, self.rehearsal = data, config, rehearsal
        self.batch_images = config.batch_images if rehearsal is None else _own_images(config.batch_images, rehearsal)
        self.cells = [len(level.codes) for level in model.levels]
        self.device = model.levels[0].codes.device
        self.y = model.class_ids(list(data.samples["category"]))
        self.generator = torch.Generator().manual_seed(seed)
        size = sum(level[0].nbytes for level in data.levels) * len(data)
        self.cached = [x.to(self.device) for x in data.read()] if size < self.in_memory else None

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.data) // self.batch_images)

    def epoch(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.data), generator=self.generator)
        for step in range(self.steps_per_epoch):
            batch = self._batch(order[step * self.batch_images :][: self.batch_images])
            yield batch if self.rehearsal is None else self._rehearsed(batch)

    def _batch(self, images: Tensor) -> Batch:
        drawn = [self._draw(level, images) for level in range(len(self.cells))]
        return Batch([x for x, _ in drawn], [index for _, index in drawn], self.y[images.to(self.device)])

    def _draw(self, level: int, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches (N, D) in single precision and their cells; whole grids when the draw would take every cell."""
        n, n_cells = self.config.batch_patches, self.cells[level]
        if n is None or n >= n_cells:
            x = self.cached[level][images.to(self.device)] if self.cached else self._on_file(level, images, None)
            return x.flatten(0, 1).float(), None
        index = torch.rand(len(images), n_cells, generator=self.generator).topk(n, dim=1, sorted=False).indices
        if not self.cached:
            return self._on_file(level, images, index).flatten(0, 1).float(), index.flatten().to(self.device)
        rows = (images[:, None] * n_cells + index).flatten().to(self.device)
        return self.cached[level].flatten(0, 1).index_select(0, rows).float(), index.flatten().to(self.device)

    def _on_file(self, level: int, images: Tensor, index: Tensor | None) -> Tensor:
        """The patches of images (B, n, D), or those at the cells (B, n), read and no more than these."""
        rows = self.data.rows[images.numpy()]
        at = rows if index is None else (rows[:, None], index.numpy())
        return torch.from_numpy(np.asarray(self.data.levels[level][at])).to(self.device)

    def _rehearsed(self, batch: Batch) -> Batch:
        """The batch followed by the images that are rehearsed with it."""
        n_patches = [len(x) // len(batch.y) for x in batch.x]
        extra = self.rehearsal.draw(self.config.batch_images - self.batch_images, n_patches, self.generator)
        index = [
            torch.arange(n, device=self.device).repeat(len(batch.y)) if cells is None else cells
            for n, cells in zip(self.cells, batch.index)
        ]
        return Batch(
            [torch.cat(pair) for pair in zip(batch.x, extra.x)],
            [torch.cat(pair) for pair in zip(index, extra.index)],
            torch.cat([batch.y, extra.y]),
            None if self.rehearsal.taught else len(batch.y),
        )


def _own_images(batch_images: int, rehearsal: Rehearsal) -> int:
    """Images of a batch that are the task's own; at least one is, and at least one is not."""
    if batch_images < 2 or not 0 < rehearsal.share < 1:
        raise ValueError(
            f"Expected a share between 0 and 1 of two images or more; got {rehearsal.share} of {batch_images}."
        )
    return batch_images - min(max(1, round(rehearsal.share * batch_images)), batch_images - 1)
