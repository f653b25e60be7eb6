"""Several runs at a time on one GPU, a thread each.

Processes take turns on a card; streams of one process share it.
"""

__all__ = ["fit_in_threads"]

import ctypes
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from cl_flow.devices import Lane, lanes
from cl_flow.runs.config import RunConfig
from cl_flow.runs.processes import watch
from cl_flow.runs.run import Run


def fit_in_threads(
    fit: Callable[..., Run],
    configs: Sequence[RunConfig],
    n: int,
    device: torch.device,
) -> None:
    """Call `fit` on each config in `n` threads with a stream each, under one bar.

    When one fails, or the user interrupts, the others are interrupted too, and are
    waited for.

    Args:
        fit: Function of a config and `progress`.
        configs: What to train.
        n: Threads.
        device: The GPU; on a CPU there are no streams, and threads take turns.
    """
    # Extracted here, under its own bar, rather than waited for in every thread.
    _ = Run.at(configs[0]).features
    at_work: set[int] = set()
    seen: list[int] = []  # images of each pass; appending is atomic
    stopped = threading.Event()

    def begin(own: list[Lane]) -> None:
        if own:
            torch.cuda.set_stream(own.pop().stream)

    def work(config: RunConfig) -> Run:
        at_work.add(threading.get_ident())
        try:
            if stopped.is_set():
                raise KeyboardInterrupt
            return fit(config, progress=seen.append)
        finally:
            at_work.discard(threading.get_ident())

    with lanes(device, n) as lent:
        pool = ThreadPoolExecutor(
            n, thread_name_prefix="fit", initializer=begin, initargs=(list(lent),)
        )
        try:
            jobs = [pool.submit(work, config) for config in configs]
            watch(jobs, configs, lambda: sum(seen))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for ident in list(at_work):
                _interrupt(ident)
            raise
        finally:
            pool.shutdown()
            # Or every new thread would compute on as few as these have.
            torch.set_num_threads(torch.get_num_threads())


def _interrupt(ident: int) -> None:
    """Raise KeyboardInterrupt in a thread, at its next line of Python."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))
