"""Fitting: runs from disk, or trained, or continued."""

__all__ = ["fit", "fit_all"]

import os
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import torch

from cl_flow.calls import checked
from cl_flow.data.datasets import DATASETS
from cl_flow.devices import pick_device
from cl_flow.paths import sweep
from cl_flow.runs.config import RunConfig, new_strategy
from cl_flow.runs.continual import learn_stream
from cl_flow.runs.processes import fit_in_processes
from cl_flow.runs.run import Run
from cl_flow.runs.threads import fit_in_threads
from cl_flow.strategies import STRATEGIES

# Runs at a time on one GPU, measured by tests/benchmarks/bench_step.py: two of preset
# `synthetic` take 1.6 times the steps of one a second, four 2.2 times.
ON_A_GPU = 4


@checked
def fit(
    config: RunConfig,
    *,
    device: str | torch.device | None = None,
    overwrite: bool = False,
    progress: bool | Callable[[int], None] = True,
    folder: str | Path | None = None,
) -> Run:
    """Run of a config: from disk, or trained now, or continued after its last task.

    Training sees normal training images only and is never evaluated here; ask
    `analysis` later, of any snapshot. Interrupting it at any moment leaves a run that
    the next call continues.

    Args:
        config: What to train.
        device: None takes the GPU when there is one.
        overwrite: Throw away what was learned and begin again.
        progress: Whether to show a bar per task; or a function that is told the task's
            images after each pass over them.
        folder: Folder of all runs; the data folder's `runs` by default.

    Returns:
        The complete run.

    Example:
        >>> fit(run.config).name == run.name
        True
    """
    strategy = new_strategy(config)
    known = Run.find(config, folder=folder)
    if known is not None and known.is_complete and not overwrite:
        return known
    where = pick_device(device)  # before a run is begun, or what it learned thrown away
    run = Run.at(config, folder=folder) if known is None else known
    with run.lock():
        sweep(run.folder)
        if overwrite:
            run.clear()
        if not run.is_complete:
            learn_stream(run, strategy, where, progress)
    return run


@checked
def fit_all(
    configs: Sequence[RunConfig],
    *,
    processes: int | None = None,
    device: str | torch.device | None = None,
) -> list[Run]:
    """Runs of several configs, in their order, several trained at a time.

    On a CPU each has a process of one thread, which wastes nothing: the products in a
    step are too small to be worth splitting. On a GPU each has a thread and a stream of
    this process.

    Args:
        configs: What to train.
        processes: Runs at a time; None is one per core on a CPU, and 4 on a GPU.
        device: None takes the GPU when there is one.

    Raises:
        RuntimeError: A training process was ended from outside, or could not import the
            script it was begun in.

    Example:
        >>> joint = run.config.replace(strategy="joint")
        >>> [run.strategy for run in fit_all([run.config, joint])]
        ['finetune', 'joint']
    """
    for config in configs:
        new_strategy(config)  # what it does not take is an error before any begins
    where = pick_device(device)
    unfinished = [config for config in configs if not _is_complete(config)]
    there = partial(fit, device=device)
    if where.type == "cuda":
        n = min(processes or ON_A_GPU, len(unfinished))
        if n > 1:
            fit_in_threads(there, unfinished, n, where)
    else:
        waiting = [config for config in unfinished if _travels(config)]
        n = min(processes or os.cpu_count() or 1, len(waiting))
        if n > 1:
            _fit_in_processes(there, waiting, n)
    return [fit(config, device=device) for config in configs]


def _is_complete(config: RunConfig) -> bool:
    run = Run.find(config)
    return run is not None and run.is_complete


def _fit_in_processes(
    fit: Callable[[RunConfig], Run], configs: Sequence[RunConfig], n: int
) -> None:
    try:
        fit_in_processes(fit, configs, n)
    except BrokenProcessPool as error:
        raise RuntimeError(
            "Expected training processes that live; one was ended from outside, or "
            "this is a script whose code does not stand under "
            "`if __name__ == '__main__':`. What was learned is kept; "
            "fit_all(configs, processes=1) trains here, one after another."
        ) from error


def _travels(config: RunConfig) -> bool:
    """Whether another process knows the strategy and the dataset.

    One that is defined in a notebook is known there alone.
    """
    entries = (STRATEGIES[config.strategy], DATASETS[config.dataset])
    return all(entry.__module__ != "__main__" for entry in entries)
