"""One task's training.

Batches of cached features, HGAD's losses, Adam under warm-up and cosine decay.
"""

__all__ = ["rate_share", "train"]

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from cl_flow.data.features import Features
from cl_flow.devices import Lane, lanes
from cl_flow.devices import threads as use_threads
from cl_flow.model.base import Model
from cl_flow.model.flow import FlowModel
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.model.reconstruction.uniad import UniAD, UniADConfig
from cl_flow.progress import Bar
from cl_flow.training.batches import Loader, Rehearsal
from cl_flow.training.config import TrainConfig
from cl_flow.training.reconstruction import ReconstructionStep, step_of
from cl_flow.training.step import CapturedStep, Key, Penalty, Rewire, Step

# Whether to show a bar, its title, or who is told of each pass.
Progress = bool | str | Callable[[], object]


def train(
    model: Model,
    data: Features,
    config: TrainConfig | UniADConfig,
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
        config: How to train: a flow's TrainConfig, or the config of another model.
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
    n_levels = len(model.grids)
    model.train()
    with use_threads(threads), reuse_memory(), lanes(model.device, n_levels) as own:
        records = _epochs(
            model,
            data,
            config,
            _step(model, config, penalty, own, capturable, seed),
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


def _step(
    model: Model,
    config: TrainConfig | UniADConfig,
    penalty: Penalty | None,
    own: Sequence[Lane],
    capturable: bool,
    seed: int,
) -> Step | ReconstructionStep:
    if isinstance(model, UniAD):
        return step_of(model, seed)
    # Without a lane, nothing can be recorded.
    kind = CapturedStep if own and capturable else Step
    return kind(model, config, penalty, own)


def _epochs(
    model: Any,
    data: Features,
    config: TrainConfig | UniADConfig,
    take: Step | ReconstructionStep,
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
                lr = take.peak * rate_share(step, n_steps, config)
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
    take.finish(data)
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


def rate_share(step: int, n_steps: int, config: TrainConfig | UniADConfig) -> float:
    """Share of the peak learning rate in a step.

    Cosine, smooth or in stairs, and below it a linear warm-up; of other models than a
    flow a single stair.
    """
    if isinstance(config, UniADConfig):
        return config.decay if step >= config.decay_at * n_steps else 1.0
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
