"""The continual loop: learn task after task, keeping a snapshot of each."""

__all__ = ["fit", "fit_all", "learn"]

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from cl_flow.datasets import DATASETS
from cl_flow.flow import FlowModel, pick_device
from cl_flow.run import Run, RunConfig
from cl_flow.strategies import STRATEGIES, Strategy
from cl_flow.stream import Task
from cl_flow.train import train


def fit(
    config: RunConfig,
    *,
    device: str | torch.device | None = None,
    overwrite: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
) -> Run:
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
            _learn_stream(run, strategy, pick_device(device), progress)
    return run


def fit_all(
    configs: Sequence[RunConfig], *, processes: int | None = None, device: str | torch.device | None = None
) -> list[Run]:
    """`fit` for several configs, in their order; on a CPU several processes of one thread share the work.

    One thread per run wastes nothing: the products in a step are too small to be worth splitting.

    Args:
        configs: What to train.
        processes: Runs at a time; None is one per core on a CPU, and one on a GPU.
        device: None takes the GPU when there is one.

    Raises:
        RuntimeError: A training process was ended from outside, or could not import the script it was begun in.
    """
    waiting = [config for config in configs if not Run.at(config).is_complete and _travels(config)]
    n = processes or (os.cpu_count() if pick_device(device).type == "cpu" else 1)
    if n > 1 and len(waiting) > 1:
        try:
            _fit_in_processes(waiting, min(n, len(waiting)), device)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "Expected training processes that live; one was ended from outside, or this is a script whose code "
                "does not stand under `if __name__ == '__main__':`. What was learnt is kept; fit_all(configs, "
                "processes=1) trains here, one after another."
            ) from error
    return [fit(config, device=device) for config in configs]


def _travels(config: RunConfig) -> bool:
    """Whether another process knows the strategy and the dataset: one defined in a notebook is known there alone."""
    entries = (STRATEGIES[config.strategy], DATASETS[config.dataset])
    return all(entry.__module__ != "__main__" for entry in entries)


def _fit_in_processes(configs: Sequence[RunConfig], n: int, device: str | torch.device | None) -> None:
    """Train in `n` processes under one bar; when one fails, or the user interrupts, none is left behind."""
    _ = Run.at(configs[0]).features  # extracted here, under its own bar, rather than waited for in every process
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin_process)
    try:
        jobs = [pool.submit(partial(fit, progress=False, device=device), config) for config in configs]
        _watch(jobs, configs)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def _begin_process() -> None:
    """One thread of torch, and another that ends the process with its parent: who is killed cannot end it."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _watch(jobs: Sequence[Future], configs: Sequence[RunConfig]) -> None:
    """Show how many tasks are learnt until all jobs are done, or raise what one of them raised."""
    runs = [Run.at(config) for config in configs]
    with tqdm(desc=f"training {len(runs)} runs", unit="task") as bar:
        while not all(job.done() for job in jobs):
            bar.update(sum(map(len, runs)) - bar.n)
            for job in jobs:
                if job.done():
                    job.result()
            time.sleep(0.5)
        bar.update(sum(map(len, runs)) - bar.n)
    for job in jobs:
        job.result()


def _learn_stream(run: Run, strategy: Strategy, device: torch.device, progress: bool) -> None:
    stream = strategy.arrange(run.stream())
    model = _last_model(run, strategy, device)
    for task in stream[len(run) :]:
        begun = time.perf_counter()
        title = f"{run.name} task {task.index + 1}/{len(stream)}" if progress else False
        model, losses = learn(model, strategy, task, run.config, past=stream[: task.index], progress=title)
        strategy.consolidate(model, task)
        run.write(model, task, losses, strategy.memory, time.perf_counter() - begun)
    run.finish()


def learn(
    model: FlowModel,
    strategy: Strategy,
    task: Task,
    config: RunConfig,
    *,
    past: Sequence[Task] = (),
    watch: Callable[[int, FlowModel], None] | None = None,
    progress: bool | str = False,
) -> tuple[FlowModel, pd.DataFrame]:
    """The model after training on one task as a strategy has it, and the losses; what follows is to consolidate.

    Args:
        model: The model after the tasks before; changed in place.
        strategy: With what it kept of them.
        task: The task to learn.
        config: Of the run.
        past: The tasks before, for a strategy that may look at them.
        watch: As in `train`.
        progress: Whether to show a bar, or its title.
    """
    model = strategy.grow(model, task)
    if config.centers == "freeze_old":
        for level in model.levels:
            level.mixture.freeze_old_()
    data = strategy.prepare(model, task, past={t.index: t for t in past} if strategy.sees_past else {})
    losses = train(
        model,
        data,
        config.train,
        penalty=strategy.penalty,
        rehearsal=strategy.rehearse(model, task),
        midway=strategy.midway,
        watch=partial(_tell, [strategy.watch, *filter(None, [watch])]),
        seed=_task_seed(config, task),
        progress=progress,
    )
    return model, losses


def _tell(watchers: Sequence[Callable[[int, FlowModel], None]], step: int, model: FlowModel) -> None:
    for watcher in watchers:
        watcher(step, model)


def _last_model(run: Run, strategy: Strategy, device: torch.device) -> FlowModel:
    """The model of the last finished task with the strategy's memory restored, or a new one."""
    if len(run):
        strategy.memory.update(run[-1].memory())
        return run[-1].model(device)
    features = run.features
    return FlowModel(features.dims, features.grids, run.config.flow, seed=run.config.seed_model).to(device)


def _task_seed(config: RunConfig, task: Task) -> int:
    """A seed of its own for every task, so that a resumed run draws what an uninterrupted one would."""
    return 1000 * config.seed_data + task.index
