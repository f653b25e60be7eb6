"""Devices, and the number of processor threads that torch uses."""

__all__ = ["one_thread", "pick_device", "threads"]

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch compute on `n` processor threads, and then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on one processor thread.

    Its products are small, and split over two cores that another program uses as well
    they wait for each other up to ten times as long as they take.
    """

    @functools.wraps(function)
    def alone(*args: Any, **options: Any) -> Any:
        with threads(1):
            return function(*args, **options)

    return alone


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; by default the GPU when there is one."""
    if device:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")
