"""The continual loop: learn task after task, keeping a snapshot of each."""

__all__ = ["fit", "fit_all"]

import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import torch

from cl_flow.data.datasets import DATASETS
from cl_flow.devices import pick_device
from cl_flow.runs.config import RunConfig
from cl_flow.runs.continual import learn_stream
from cl_flow.runs.processes import fit_in_processes
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES


def fit(
    config: RunConfig,
    *,
    device: str | torch.device | None = None,
    overwrite: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
) -> Run:
    """The run of a config: the one on disk, or trained now, or continued after its last
    finished task.

    Training sees normal training images only and is never evaluated here; ask
    `analysis` later, of any snapshot. Interrupting it at any moment leaves a run that
    the next call continues.

    Args:
        config: What to train.
        device: None takes the GPU when there is one.
        overwrite: Throw away what was learnt and begin again.
        progress: Whether to show a bar per task.
        folder: Folder of all runs; the data folder's `runs` by default.

    Returns:
        The complete run.
    """
    strategy = STRATEGIES[config.strategy](**config.all_options)
    run = Run.at(config, folder=folder)
    if run.is_complete and not overwrite:
        return run
    with run.lock():
        if overwrite:
            run.clear()
        if not run.is_complete:
            learn_stream(run, strategy, pick_device(device), progress)
    return run


def fit_all(
    configs: Sequence[RunConfig],
    *,
    processes: int | None = None,
    device: str | torch.device | None = None,
) -> list[Run]:
    """`fit` for several configs, in their order; on a CPU several processes of one
    thread share the work.

    One thread per run wastes nothing: the products in a step are too small to be worth
    splitting.

    Args:
        configs: What to train.
        processes: Runs at a time; None is one per core on a CPU, and one on a GPU.
        device: None takes the GPU when there is one.

    Raises:
        RuntimeError: A training process was ended from outside, or could not import the
            script it was begun in.
    """
    waiting = [
        config
        for config in configs
        if not Run.at(config).is_complete and _travels(config)
    ]
    n = processes or (os.cpu_count() if pick_device(device).type == "cpu" else 1)
    if n > 1 and len(waiting) > 1:
        try:
            fit_in_processes(
                partial(fit, progress=False, device=device),
                waiting,
                min(n, len(waiting)),
            )
        except BrokenProcessPool as error:
            raise RuntimeError(
                "Expected training processes that live; one was ended from outside, or "
                "this is a script whose code does not stand under "
                "`if __name__ == '__main__':`. What was learnt is kept; "
                "fit_all(configs, processes=1) trains here, one after another."
            ) from error
    return [fit(config, device=device) for config in configs]


def _travels(config: RunConfig) -> bool:
    """Whether another process knows the strategy and the dataset: one defined in a
    notebook is known there alone.
    """
    entries = (STRATEGIES[config.strategy], DATASETS[config.dataset])
    return all(entry.__module__ != "__main__" for entry in entries)
