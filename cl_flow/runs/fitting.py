"""Fitting: runs from disk, or trained, or continued."""

__all__ = ["fit", "fit_all"]

import os
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from cl_flow.calls import checked, refuse_unknown
from cl_flow.data.datasets import DATASETS
from cl_flow.devices import pick_device
from cl_flow.paths import sweep
from cl_flow.runs.config import RunConfig, new_strategy
from cl_flow.runs.continual import learn_stream
from cl_flow.runs.processes import fit_in_processes
from cl_flow.runs.run import Run
from cl_flow.runs.sweeps import fit_on_ray
from cl_flow.runs.threads import fit_in_threads
from cl_flow.strategies import STRATEGIES

# Runs at a time on one GPU, measured by tests/benchmarks/bench_step.py: two of preset
# `synthetic` take 1.6 times the steps of one a second, four 2.2 times.
ON_A_GPU = 4
ENGINES = ("processes", "serial", "ray")


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

    Raises:
        ValueError: An imported task is to be learned again, or more are to be learned
            and nobody told how those were.

    Example:
        >>> fit(run.config).name == run.name
        True
    """
    strategy = new_strategy(config)
    known = Run.find(config, folder=folder)
    if known is not None and known.is_complete and not overwrite:
        return known
    where = pick_device(device)  # before a run is begun, or what it learned thrown away
    if config.origin is not None:
        _refuse_relearning(None if overwrite else known)
    run = Run.at(config, folder=folder) if known is None else known
    with run.lock():
        sweep(run.folder)
        if overwrite:
            run.clear()
        if not run.is_complete:
            learn_stream(run, strategy, where, progress)
    return run


def _refuse_relearning(run: Run | None) -> None:
    """Refuse to train what was imported, or to go on by a schedule that nobody told."""
    imported = {} if run is None else run.facts["imported"]
    files = imported.get("files", [])
    n_whole = 0 if run is None else run.n_whole
    if not files or n_whole < len(files):
        raise ValueError(
            f"Expected the tasks that were imported, whole; got {n_whole} of "
            f"{len(files) or 'them'}. No training brings them back: "
            "Run.from_hgad(…) reads their files again."
        )
    if not imported["trainable"]:
        raise ValueError(
            "Expected to know how the imported tasks were trained, to learn on in the "
            "same way; got no config.json that says so. Import them with "
            "train=TrainConfig(…)."
        )


@checked
def fit_all(
    configs: Sequence[RunConfig],
    *,
    processes: int | None = None,
    device: str | torch.device | None = None,
    engine: str = "processes",
    address: str | None = None,
    watch: Callable[[pd.DataFrame], None] | None = None,
) -> list[Run]:
    """Runs of several configs, in their order, several trained at a time.

    On a CPU each has a process of one thread, which wastes nothing: the products in a
    step are too small to be worth splitting. On a GPU each has a thread and a stream of
    this process. On a Ray cluster each is a task, which goes on at another node if its
    own is lost; the runs are the same to the byte.

    Args:
        configs: What to train.
        processes: Runs at a time; None is one per core on a CPU, and 4 on a GPU. A
            cluster takes as many as it has room for.
        device: None takes the GPU when there is one.
        engine: Name in `ENGINES`.
        address: Of a Ray cluster, `"auto"` for the one on this machine; None is the one
            in the environment variable RAY_ADDRESS, or one begun for this call.
        watch: Told the sweep on a cluster as a table, in place of a bar, with the
            columns `cl_flow.runs.sweeps.COLUMNS`.

    Raises:
        RuntimeError: A training process was ended from outside, or could not import the
            script it was begun in; too many nodes of a cluster were lost.
        ValueError: What only a cluster takes, or does not take.

    Example:
        >>> joint = run.config.replace(strategy="joint")
        >>> [run.strategy for run in fit_all([run.config, joint])]
        ['finetune', 'joint']
    """
    refuse_unknown("engine", engine, ENGINES)
    if engine != "ray" and (address is not None or watch is not None):
        raise ValueError(
            f"Expected engine='ray' with an address or watch; got engine={engine!r}."
        )
    if engine == "ray" and processes is not None:
        raise ValueError(
            "Expected as many runs at a time as the cluster has room for; got "
            f"processes={processes}. `ray start --num-cpus=…` makes it smaller."
        )
    for config in configs:
        new_strategy(config)  # what it does not take is an error before any begins
    unfinished = [config for config in configs if not _is_complete(config)]
    if engine == "ray":
        waiting = [config for config in unfinished if _travels(config)]
        if waiting:
            fit_on_ray(fit, waiting, device=device, address=address, watch=watch)
        return [fit(config) for config in configs]
    if engine == "serial" or not unfinished:
        return [fit(config, device=device) for config in configs]
    where = pick_device(device)
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
