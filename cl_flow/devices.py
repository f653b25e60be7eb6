"""Devices, processor threads, and the generator that all of them have in common."""

__all__ = [
    "Lane",
    "helper_of",
    "lanes",
    "one_thread",
    "pick_device",
    "seeded",
    "send",
    "threads",
]

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DRAWING = threading.Lock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's own layers draw their weights from a seed, one thread at a time.

    They draw from the one generator that all threads have in common, which is
    afterwards as it was.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


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


class Lane(NamedTuple):
    """Streams of a GPU that one user alone computes on: a lane, and one beside it."""

    stream: torch.cuda.Stream
    helper: torch.cuda.Stream


_LANES: dict[int, list[Lane]] = {}  # by the number of the card
_HELPERS: dict[int, torch.cuda.Stream] = {}
_LENDING = threading.Lock()
# Streams that torch has; it hands them out in turn, whoever holds them already.
N_STREAMS = 32


@contextmanager
def lanes(device: torch.device, n: int) -> Iterator[list[Lane]]:
    """Lend lanes of a GPU, each to one user at a time; fewer where few are left.

    What is recorded on a stream must meet nobody else's work there, and scratch memory
    of the libraries belongs to a stream.
    """
    if device.type != "cuda":
        yield []
        return
    card = torch.cuda.current_device() if device.index is None else device.index
    with _LENDING:
        if card not in _LANES:
            streams = [torch.cuda.Stream(card) for _ in range(N_STREAMS)]
            _LANES[card] = [Lane(*pair) for pair in zip(streams[::2], streams[1::2])]
        free = _LANES[card]
        lent = [free.pop() for _ in range(min(n, len(free)))]
        _HELPERS.update({lane.stream.cuda_stream: lane.helper for lane in lent})
    try:
        yield lent
    finally:
        with _LENDING:
            for lane in lent:
                _HELPERS.pop(lane.stream.cuda_stream, None)
            free.extend(lent)


def helper_of(device: torch.device) -> torch.cuda.Stream | None:
    """The stream beside the current one, where that is a lane's."""
    if device.type != "cuda":
        return None
    return _HELPERS.get(torch.cuda.current_stream(device).cuda_stream)


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; by default `CL_FLOW_DEVICE`, or the GPU when there is one.

    Raises:
        ValueError: Neither a CPU nor a GPU of CUDA, or none of this number is here.
    """
    source = "device" if device else "CL_FLOW_DEVICE"
    device = device or os.environ.get("CL_FLOW_DEVICE")
    n_cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not device:
        return torch.device("cuda" if n_cards else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        picked = None
    if picked is None or picked.type not in ("cpu", "cuda"):
        raise ValueError(
            f"Expected {source} to be 'cpu', 'cuda' or a card such as 'cuda:1'; got "
            f"{str(device)!r}."
        )
    if picked.type == "cuda" and (picked.index or 0) >= n_cards:
        seen = f"{n_cards} of them" if n_cards else "no GPU: `make doctor` says why"
        raise ValueError(
            f"Expected {source} to be of this machine; got {str(device)!r}, and torch "
            f"sees {seen}. 'cpu' is always there."
        )
    return picked


def send(x: Tensor, device: torch.device) -> Tensor:
    """Copy of a CPU's tensor on a device; nobody waits for a GPU to have taken it."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
