"""Several runs at a time, a process each."""

__all__ = ["fit_in_processes", "watch"]

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess

import torch
from tqdm.auto import tqdm

from cl_flow.runs.config import RunConfig
from cl_flow.runs.run import Run


def fit_in_processes(
    fit: Callable[[RunConfig], Run], configs: Sequence[RunConfig], n: int
) -> None:
    """Call `fit` on each config in `n` processes, under one bar.

    When one fails, or the user interrupts, none is left behind.

    Args:
        fit: Function of a config, known to another process by its name.
        configs: What to train.
        n: Processes.
    """
    # Extracted here, under its own bar, rather than waited for in every process.
    _ = Run.at(configs[0]).features
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n, mp_context=context, initializer=_begin_process)
    try:
        jobs = [pool.submit(fit, config) for config in configs]
        watch(jobs, configs)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def _begin_process() -> None:
    """Take one thread for torch, and another that ends the process with its parent.

    A parent that is killed cannot end it.
    """
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
    os._exit(1)


def watch(jobs: Sequence[Future], configs: Sequence[RunConfig]) -> None:
    """Show how many tasks are learnt until all jobs are done; raise what one raised."""
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
