"""One task's training: batches of cached features, HGAD's losses, Adam under warm-up and cosine decay."""

__all__ = ["Batch", "Penalty", "TrainConfig", "train"]

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cl_flow.adam import FlatAdam
from cl_flow.coupling import reuse_memory
from cl_flow.features import Features
from cl_flow.flow import FlowModel, trainable
from cl_flow.losses import LossConfig, hgad_losses, hgad_total


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

    The patches of an image are consecutive: N is a multiple of the number of images B.
    """

    x: list[Tensor]
    index: list[Tensor | None]
    y: Tensor


Penalty = Callable[[FlowModel, Batch, list[tuple[Tensor, Tensor]]], Tensor]


def train(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    *,
    penalty: Penalty | None = None,
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
    with _threads(threads), reuse_memory():
        records = _epochs(model, data, config, penalty, watch, seed, progress)
    model.eval()
    return pd.DataFrame(records, columns=["epoch", "level", "term", "value"])


def _epochs(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    penalty: Penalty | None,
    watch: Callable[[int, FlowModel], None] | None,
    seed: int,
    progress: bool | str,
) -> list[tuple[int, int, str, float]]:
    model.train()
    loader = _Loader(model, data, config, seed)
    optimizer = FlatAdam(trainable(model, weight_decay=config.weight_decay), betas=config.betas)
    n_steps = config.epochs * loader.steps_per_epoch
    begin_intra = round(config.inter_only * n_steps)
    records: list[tuple[int, int, str, float]] = []
    title = progress if isinstance(progress, str) else "training"
    if watch is not None:
        watch(0, model)
    with closing(optimizer), tqdm(total=n_steps, desc=title, unit="step", disable=not progress) as bar:
        for epoch in range(config.epochs):
            sums: dict[tuple[int, str], list[Tensor]] = {}
            for step, batch in enumerate(loader.epoch(), epoch * loader.steps_per_epoch):
                _differentiate(model, batch, config, step >= begin_intra, penalty, sums)
                optimizer.step(config.lr * _rate(step / n_steps, config))
                bar.update()
                if watch is not None:
                    watch(step + 1, model)
            records += _means(epoch, sums)
    return records


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        z, log_det = level(x, index)
        terms = hgad_losses(
            level.mixture, z, log_det, batch.y, intra=intra, label_smoothing=config.losses.label_smoothing
        )
        total = total + hgad_total(terms, config.losses)
        latents.append((z, log_det))
        for name, value in terms.items():
            sums.setdefault((i, name), []).append(value.detach())
    if penalty is not None:
        extra = penalty(model, batch, latents)
        total = total + extra
        sums.setdefault((-1, "penalty"), []).append(extra.detach())
    total.backward()


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

    def __init__(self, model: FlowModel, data: Features, config: TrainConfig, seed: int) -> None:
        if not len(data) or config.batch_images < 1 or config.epochs < 0:
            raise ValueError(
                f"Expected images, a batch and a number of epochs; got {len(data)} images, batch_images = "
                f"{config.batch_images}, epochs = {config.epochs}."
            )
        self.data, self.config = data, config
        self.cells = [len(level.codes) for level in model.levels]
        self.device = model.levels[0].codes.device
        self.y = model.class_ids(list(data.samples["category"]))
        self.generator = torch.Generator().manual_seed(seed)
        size = sum(level[0].nbytes for level in data.levels) * len(data)
        self.cached = [x.to(self.device) for x in data.read()] if size < self.in_memory else None

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.data) // self.config.batch_images)

    def epoch(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.data), generator=self.generator)
        for step in range(self.steps_per_epoch):
            yield self._batch(order[step * self.config.batch_images :][: self.config.batch_images])

    def _batch(self, images: Tensor) -> Batch:
        drawn = [self._draw(level, images) for level in range(len(self.cells))]
        return Batch([x for x, _ in drawn], [index for _, index in drawn], self.y[images.to(self.device)])

    def _draw(self, level: int, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches (N, D) in single precision and their cells; whole grids when the draw would take every cell."""
        n, n_cells = self.config.batch_patches, self.cells[level]
        if n is None or n >= n_cells:
            x = self.cached[level][images.to(self.device)] if self.cached else self._on_file(level, images, None)
            return x.flatten(0, 1).float(), None
        index = torch.rand(len(images), n_cells, generator=self.generator).topk(n, dim=1).indices
        if not self.cached:
            return self._on_file(level, images, index).flatten(0, 1).float(), index.flatten().to(self.device)
        rows = (images[:, None] * n_cells + index).flatten().to(self.device)
        return self.cached[level].flatten(0, 1).index_select(0, rows).float(), index.flatten().to(self.device)

    def _on_file(self, level: int, images: Tensor, index: Tensor | None) -> Tensor:
        """The patches of images (B, n, D), or those at the cells (B, n), read and no more than these."""
        rows = self.data.rows[images.numpy()]
        at = rows if index is None else (rows[:, None], index.numpy())
        return torch.from_numpy(np.asarray(self.data.levels[level][at])).to(self.device)
