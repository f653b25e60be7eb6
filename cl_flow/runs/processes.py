"""Several runs at a time, a process each."""

__all__ = ["fit_in_processes", "images_to_see", "watch"]

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from cl_flow.progress import Bar
from cl_flow.runs.config import RunConfig, new_strategy
from cl_flow.runs.run import Run


def fit_in_processes(
    fit: Callable[..., Run], configs: Sequence[RunConfig], n: int
) -> None:
    """Call `fit` on each config in `n` processes, under one bar.

    When one fails, or the user interrupts, none is left behind.

    Args:
        fit: Function of a config and `progress`, known to another process by its name.
        configs: What to train.
        n: Processes.
    """
    # Extracted here, under its own bar, rather than waited for in every process.
    _ = Run.at(configs[0]).features
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    done = context.Value("q")
    pool = ProcessPoolExecutor(
        n, mp_context=context, initializer=_begin_process, initargs=(done,)
    )
    try:
        jobs = [pool.submit(fit, config, progress=_tell) for config in configs]
        watch(jobs, configs, lambda: done.value)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


# In a process that trains: what it shares with the one that waits.
_shared: dict[str, Any] = {}


def _begin_process(done: Any) -> None:
    """Take one thread for torch, and another that ends the process with its parent.

    A parent that is killed cannot end it.
    """
    _shared["done"] = done
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _tell(n_images: int) -> None:
    """Add the images of a pass to those that all processes have seen."""
    done = _shared["done"]
    with done.get_lock():
        done.value += n_images


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
    os._exit(1)


def watch(
    jobs: Sequence[Future], configs: Sequence[RunConfig], done: Callable[[], int]
) -> None:
    """Show one bar over all passes of all runs; raise what a job raised.

    Args:
        jobs: One for each config.
        configs: What is trained.
        done: Images seen so far, by all of them.
    """
    total = sum(map(images_to_see, configs))
    title = f"training {len(configs)} runs"
    with Bar(total=total, desc=title, unit="image", smoothing=0.05) as bar:
        while not all(job.done() for job in jobs):
            bar.update(done() - bar.n)
            for job in jobs:
                if job.done():
                    job.result()
            time.sleep(0.5)
        bar.update(done() - bar.n)
    for job in jobs:
        job.result()


def images_to_see(config: RunConfig) -> int:
    """Images of all passes that a run has yet to take."""
    run = Run.at(config)
    left = new_strategy(config).arrange(run.stream())[len(run) :]
    return config.training.epochs * sum(len(task.features) for task in left)
