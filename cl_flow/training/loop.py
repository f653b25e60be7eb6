"""One task's training.

Batches of cached features, HGAD's losses, Adam under warm-up and cosine decay.
"""

__all__ = ["Penalty", "train"]

import math
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.devices import threads as use_threads
from cl_flow.model.flow import FlowModel, trainable
from cl_flow.model.kernels.adam import FusedAdam
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.model.losses import hgad_losses, hgad_total
from cl_flow.training.batches import Loader, Rehearsal
from cl_flow.training.config import TrainConfig

Penalty = Callable[[FlowModel, Batch, list[tuple[Tensor, Tensor]]], Tensor]


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
        penalty: Added to the loss of each step: a function of model, batch and, per
            level, (z, log_det).
        rehearsal: Patches of earlier classes to mix into every batch.
        midway: Called once with the model, when half of the steps are taken.
        watch: Called with the number of steps taken and the model, before the first
            step and after each one; what it measures leaves the training to the bit, as
            long as it leaves the model.
        seed: Order of images and draw of patches.
        threads: Processor threads on a CPU. One gives the same bytes on any number of
            cores, and the products in a step of a small model are not worth splitting.
        progress: Whether to show a bar, or its title.

    Returns:
        One row per epoch, level and term: `epoch level term value`, means over the
        epoch.

    Raises:
        ValueError: Fewer images than one, or a patch count beyond the grid.
        FloatingPointError: The loss is no longer finite.
    """
    with use_threads(threads), reuse_memory():
        records = _epochs(
            model, data, config, penalty, rehearsal, midway, watch, seed, progress
        )
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
    loader = Loader(model, data, config, rehearsal, seed)
    optimizer = FusedAdam(
        trainable(model, weight_decay=config.weight_decay), betas=config.betas
    )
    n_steps = config.epochs * loader.steps_per_epoch
    begin_intra = round(config.inter_only * n_steps)
    records: list[tuple[int, int, str, float]] = []
    title = progress if isinstance(progress, str) else "training"
    if watch is not None:
        watch(0, model)
    with tqdm(total=n_steps, desc=title, unit="step", disable=not progress) as bar:
        for epoch in range(config.epochs):
            sums: dict[tuple[int, str], list[Tensor]] = {}
            for step, batch in enumerate(
                loader.epoch(), epoch * loader.steps_per_epoch
            ):
                _differentiate(model, batch, config, step >= begin_intra, penalty, sums)
                optimizer.step(config.lr * _rate(step, n_steps, config))
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
    """The gradient of one step over all levels.

    Each level's terms are kept on the device until the epoch ends.
    """
    total = 0.0
    latents = []
    for i, (level, x, index) in enumerate(zip(model.levels, batch.x, batch.index)):
        z, log_det = level(x, index, batch.y)
        taught = (
            (z, log_det, batch.y)
            if batch.taught is None
            else _taught(z, log_det, batch)
        )
        terms = hgad_losses(
            level.mixture,
            *taught,
            intra=intra,
            label_smoothing=config.losses.label_smoothing,
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


def _taught(z: Tensor, log_det: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    y = batch.y[: batch.taught]
    n = len(z) * len(y) // len(batch.y)
    return z[:n], log_det[:n], y


def _means(
    epoch: int, sums: dict[tuple[int, str], list[Tensor]]
) -> list[tuple[int, int, str, float]]:
    rows = [
        (epoch, level, term, torch.stack(values).mean().item())
        for (level, term), values in sums.items()
    ]
    broken = [
        f"{term} of level {level}"
        for _, level, term, value in rows
        if not math.isfinite(value)
    ]
    if broken:
        raise FloatingPointError(
            f"Expected finite losses; got {', '.join(broken)} in epoch {epoch}. Lower "
            "the rate."
        )
    return rows


def _rate(step: int, n_steps: int, config: TrainConfig) -> float:
    """Share of the peak learning rate in a step.

    Cosine, smooth or in stairs, and below it a linear warm-up.
    """
    progress = step / n_steps
    if progress < config.warmup:
        end = _cosine(config.warmup, config.final_lr)
        return 0.1 + (end - 0.1) * progress / config.warmup
    if config.staircase is not None:
        progress = step * config.staircase // n_steps / config.staircase
    return _cosine(progress, config.final_lr)


def _cosine(progress: float, end: float) -> float:
    """Fall from 1 to `end` along half a cosine."""
    return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2
