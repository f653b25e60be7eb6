"""The continual loop: learn task after task, keeping a snapshot of each."""

__all__ = ["fit"]

import time
from pathlib import Path

import torch

from cl_flow.flow import FlowModel
from cl_flow.run import Run, RunConfig
from cl_flow.strategies import STRATEGIES, Strategy
from cl_flow.stream import Task
from cl_flow.train import train


def fit(
    config: RunConfig, *, device: str | torch.device | None = None, overwrite: bool = False, progress: bool = True,
    folder: str | Path | None = None,
) -> Run:  # fmt: skip
    """The run of a config: the one on disk, or trained now, or continued after its last finished task.

    Training sees normal training images only and is never evaluated here; ask `analysis` later, of any snapshot.
    Interrupting it at any moment leaves a run that the next call continues.

    Args:
        config: What to train.
        device: None takes the GPU when there is one.
        overwrite: Throw away what was learnt and begin again.
        progress: Whether to show a bar per task.
        folder: Folder of all runs; the data folder's `runs` by default.

    Returns:
        The complete run.
    """
    strategy = STRATEGIES[config.strategy](**config.options)
    run = Run.at(config, folder=folder)
    if run.is_complete and not overwrite:
        return run
    with run.lock():
        if overwrite:
            run.clear()
        if not run.is_complete:
            device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            _learn(run, strategy, device, progress)
    return run


def _learn(run: Run, strategy: Strategy, device: torch.device, progress: bool) -> None:
    stream = strategy.arrange(run.stream())
    model = _last_model(run, strategy, device)
    for task in stream[len(run) :]:
        begun = time.perf_counter()
        model = strategy.grow(model, task)
        if run.config.centers == "freeze_old":
            for level in model.levels:
                level.mixture.freeze_old_()
        data = strategy.prepare(model, task, past={t.index: t for t in stream[: task.index]})
        title = f"{run.name} task {task.index + 1}/{len(stream)}"
        losses = train(
            model, data, run.config.train, penalty=strategy.penalty, seed=_task_seed(run, task),
            progress=title if progress else False,
        )  # fmt: skip
        strategy.consolidate(model, task)
        run.write(model, task, losses, strategy.memory, time.perf_counter() - begun)
    run.finish()


def _last_model(run: Run, strategy: Strategy, device: torch.device) -> FlowModel:
    """The model of the last finished task with the strategy's memory restored, or a new one."""
    if len(run):
        strategy.memory.update(run[-1].memory())
        return run[-1].model(device)
    features = run.features
    return FlowModel(features.dims, features.grids, run.config.flow, seed=run.config.seed_model).to(device)


def _task_seed(run: Run, task: Task) -> int:
    """A seed of its own for every task, so that a resumed run draws what an uninterrupted one would."""
    return 1000 * run.config.seed_data + task.index
