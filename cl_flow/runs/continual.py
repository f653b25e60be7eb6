"""Continual loop: task after task, a snapshot of each."""

__all__ = ["learn", "learn_stream", "model_before"]

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import pandas as pd
import torch

from cl_flow.calls import checked
from cl_flow.data.streams import Task
from cl_flow.model.base import Model
from cl_flow.model.flow import FlowModel
from cl_flow.model.models import MODELS
from cl_flow.model.placement import ONE_DIMENSION_EACH
from cl_flow.runs.config import RunConfig
from cl_flow.runs.run import Run
from cl_flow.strategies import Strategy
from cl_flow.training.loop import Progress, train


def learn_stream(
    run: Run,
    strategy: Strategy,
    device: torch.device,
    progress: bool | Callable[[int], None],
) -> None:
    """Learn what is left of a run's stream, and mark the run as whole.

    Args:
        run: Begun, or cut after any of its tasks.
        strategy: New; its memory is that of the last snapshot.
        device: Where to train.
        progress: Whether to show a bar per task; or a function that is told the task's
            images after each pass over them.
    """
    stream = strategy.arrange(run.stream())
    sizes = [len(task.categories) for task in stream]
    if run.config.is_flow:
        _refuse_crowd(sum(sizes) if strategy.keeps_classes else max(sizes), run)
    n_whole = run.n_whole
    model = model_before(run, n_whole, strategy, device)
    for task in stream[n_whole:]:
        begun = time.perf_counter()
        shown: Progress = bool(progress)
        if callable(progress):
            # Whatever a strategy trains on beside them.
            shown = partial(progress, len(task.features))
        elif progress:
            shown = f"{run.name} task {task.index + 1}/{len(stream)}"
        model, losses = learn(
            model, strategy, task, run.config, past=stream[: task.index], progress=shown
        )
        strategy.consolidate(model, task)
        run.write(model, task, losses, strategy.memory, time.perf_counter() - begun)
    run.finish()


def _refuse_crowd(n: int, run: Run) -> None:
    """Refuse more classes than a placement has room for, before one is learned."""
    placement = run.config.flow.placement
    room = min(run.features.dims)
    if placement in ONE_DIMENSION_EACH and n > room:
        raise ValueError(
            f"Expected at most {room} categories, as placement={placement!r} gives "
            f"each a dimension of its own; got {n}. A larger whiten=…, or "
            "stages of more channels (FeatureConfig(out_indices=…)), have room."
        )


@checked
def learn(
    model: Model,
    strategy: Strategy,
    task: Task,
    config: RunConfig,
    *,
    past: Sequence[Task] = (),
    watch: Callable[[int, FlowModel], None] | None = None,
    progress: Progress = False,
) -> tuple[Any, pd.DataFrame]:
    """Train a model on one task as a strategy has it; what follows is to consolidate.

    Args:
        model: The model after the tasks before; changed in place.
        strategy: With what it kept of them.
        task: The task to learn.
        config: Of the run.
        past: The tasks before, for a strategy that may look at them.
        watch: As in `train`.
        progress: As in `train`.

    Returns:
        The model, and the losses as `train` tells them.
    """
    # What is for any model asks no more of it than that.
    model = strategy.grow(cast(FlowModel, model), task)
    if config.centers == "freeze_old":
        for level in model.levels:
            level.mixture.freeze_old_()
    seen = {earlier.index: earlier for earlier in past} if strategy.sees_past else {}
    data = strategy.prepare(model, task, past=seen)
    watchers = [strategy.watch] if watch is None else [strategy.watch, watch]
    if _is_plain(strategy, "watch"):
        watchers = watchers[1:]
    losses = train(
        model,
        data,
        config.training,
        penalty=strategy.penalty,
        rehearsal=strategy.rehearse(model, task),
        midway=None if _is_plain(strategy, "midway") else strategy.midway,
        within=None if _is_plain(strategy, "within") else strategy.within,
        watch=partial(_tell, watchers) if watchers else None,
        capturable=strategy.capturable
        or all(_is_plain(strategy, hook) for hook in ("penalty", "watch")),
        seed=_task_seed(config, task),
        progress=progress,
    )
    return model, losses


def _is_plain(strategy: Strategy, hook: str) -> bool:
    """Whether a strategy leaves a hook as fine-tuning has it."""
    own = getattr(strategy, hook)
    return getattr(own, "__func__", own) is getattr(Strategy, hook)


def _tell(
    watchers: Sequence[Callable[[int, FlowModel], None]], step: int, model: FlowModel
) -> None:
    for watcher in watchers:
        watcher(step, model)


def model_before(
    run: Run, n_tasks: int, strategy: Strategy, device: torch.device
) -> Model:
    """Model after so many tasks, the strategy's memory restored, or a new one."""
    if n_tasks:
        last = run[n_tasks - 1]
        strategy.memory.update(last.memory())
        return last.model(device)
    dims, grids = run.features.dims, run.features.grids
    kind = MODELS[run.config.model]
    shape = kind.told(run.config.shape, sum(map(len, run.tasks)))
    return kind(dims, grids, shape, seed=run.config.seed_model).to(device)


def _task_seed(config: RunConfig, task: Task) -> int:
    """Seed of a task: a resumed run draws what an uninterrupted one would."""
    return 1000 * config.seed_data + task.index
