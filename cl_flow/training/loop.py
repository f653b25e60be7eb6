"""One task's training.

Batches of cached features, HGAD's losses, Adam under warm-up and cosine decay.
"""

__all__ = ["rate_share", "train"]

import math
from collections.abc import Callable

import pandas as pd

from cl_flow.data.features import Features
from cl_flow.devices import lanes
from cl_flow.devices import threads as use_threads
from cl_flow.model.flow import FlowModel
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.progress import Bar
from cl_flow.training.batches import Loader, Rehearsal
from cl_flow.training.config import TrainConfig
from cl_flow.training.step import CapturedStep, Key, Penalty, Rewire, Step

# Whether to show a bar, its title, or who is told of each pass.
Progress = bool | str | Callable[[], object]


def train(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    *,
    penalty: Penalty | None = None,
    rehearsal: Rehearsal | None = None,
    midway: Callable[[FlowModel], None] | None = None,
    within: Callable[[FlowModel], None] | None = None,
    watch: Callable[[int, FlowModel], None] | None = None,
    rewire: Rewire | None = None,
    capturable: bool = True,
    seed: int = 0,
    threads: int = 1,
    progress: Progress = True,
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
        within: Called once with the model, before the first step that has the losses
            within a class (`TrainConfig.inter_only`).
        watch: Called with the number of steps taken and the model, before the first
            step and after each one; what it measures leaves the training to the bit, as
            long as it leaves the model.
        rewire: Asked before every step, with the steps taken and those of the task, for
            what takes Adam's place in it (`cl_flow.training.step.Rewiring`).
        capturable: Whether a GPU may record a step and replay it (`CapturedStep`). It
            may not where the penalty waits for the device, draws numbers or keeps state
            in Python, nor where `watch` gives the model other tensors.
        seed: Order of images and draw of patches.
        threads: Processor threads on a CPU. One gives the same bytes on any number of
            cores, and the products in a step of a small model are not worth splitting.
        progress: Whether to show a bar, or its title; or a function that is called
            after each pass.

    Returns:
        One row per epoch, level and term: `epoch level term value`, means over the
        epoch.

    Raises:
        ValueError: Fewer images than one, or a patch count beyond the grid.
        FloatingPointError: The loss is no longer finite.
    """
    device = model.levels[0].codes.device
    model.train()
    with use_threads(threads), reuse_memory(), lanes(device, len(model.levels)) as own:
        # Without a lane, nothing can be recorded.
        kind = CapturedStep if own and capturable else Step
        records = _epochs(
            model,
            data,
            config,
            kind(model, config, penalty, own),
            rehearsal,
            midway,
            within,
            watch,
            rewire,
            seed,
            progress,
        )
    model.eval()
    return pd.DataFrame(records, columns=["epoch", "level", "term", "value"])


def _epochs(
    model: FlowModel,
    data: Features,
    config: TrainConfig,
    take: Step,
    rehearsal: Rehearsal | None,
    midway: Callable[[FlowModel], None] | None,
    within: Callable[[FlowModel], None] | None,
    watch: Callable[[int, FlowModel], None] | None,
    rewire: Rewire | None,
    seed: int,
    progress: Progress,
) -> list[tuple[int, int, str, float]]:
    loader = Loader(model, data, config, rehearsal, seed)
    n_steps = config.epochs * loader.steps_per_epoch
    begin_intra = round(config.inter_only * n_steps)
    records: list[tuple[int, int, str, float]] = []
    title = progress if isinstance(progress, str) else "training"
    if watch is not None:
        watch(0, model)
    is_told = callable(progress)
    hidden = is_told or not progress
    with Bar(total=n_steps, desc=title, unit="step", disable=hidden) as bar:
        for epoch, batches in enumerate(loader.epochs()):
            for step, batch in enumerate(batches, epoch * loader.steps_per_epoch):
                if within is not None and step == begin_intra:
                    within(model)
                lr = config.lr * rate_share(step, n_steps, config)
                rewiring = None if rewire is None else rewire(step, n_steps)
                take(batch, lr, intra=step >= begin_intra, rewiring=rewiring)
                bar.update()
                if midway is not None and step + 1 == max(1, n_steps // 2):
                    midway(model)
                    take.forget()
                if watch is not None:
                    watch(step + 1, model)
            loader.draw_ahead()
            records += _rows(epoch, take.read())
            if is_told:
                progress()
    return records


def _rows(epoch: int, means: dict[Key, float]) -> list[tuple[int, int, str, float]]:
    rows = [(epoch, level, term, value) for (level, term), value in means.items()]
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


def rate_share(step: int, n_steps: int, config: TrainConfig) -> float:
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
