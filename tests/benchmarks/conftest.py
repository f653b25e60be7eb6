"""How `make bench` measures: two sides by turns in one process, kept as a tidy table
with the machine's facts.
"""

import datetime
import functools
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

TABLES = Path(__file__).resolve().parents[2] / "data" / "benchmarks"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
on_a_cpu = pytest.mark.skipif(DEVICE.type != "cpu", reason="a question for CPUs")
on_a_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="a question for GPUs")


@pytest.fixture
def device() -> torch.device:
    """The GPU when there is one."""
    return DEVICE


@pytest.fixture
def one_thread():
    """A CPU is measured on one thread, which is what a run trains on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def by_turns(benchmark) -> Callable[..., np.ndarray]:
    """Times `ours` and `theirs` by turns, A B A B …, and keeps the ratio of each pair:
    a machine that slows down slows both. It returns the ratios theirs/ours.
    """

    def measure(
        ours: Callable[[], Any],
        theirs: Callable[[], Any],
        *,
        rounds: int = 7,
        ratio: str = "speedup",
        unit: float = 1.0,
    ) -> np.ndarray:
        own, other = benchmark.pedantic(lambda: turns(ours, theirs, rounds=rounds)).T
        ratios = unit * other / own
        keep(benchmark, ratio, ratios)
        keep(benchmark, "seconds", own)
        keep(benchmark, "seconds of the other side", other)
        return ratios

    return measure


def turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int = 3
) -> np.ndarray:
    """Seconds of both (rounds, 2), one after the other; first calls, which allocate and
    compile, are left out.
    """
    return np.array([(timed(ours), timed(theirs)) for _ in range(rounds + 1)][1:])


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes, what it leaves running on a GPU included."""
    begun = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Products of float32 at a precision: "highest", or "high", which is TF32."""
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def keep(benchmark: Any, quantity: str, values: Any) -> None:
    """Add a quantity to the benchmark's record: its median, and the quartiles of what
    was measured.
    """
    low, median, high = np.quantile(np.atleast_1d(values), (0.25, 0.5, 0.75))
    benchmark.extra_info[quantity] = {"value": median, "low": low, "high": high}


@pytest.fixture(autouse=True)
def kept_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write what a benchmark measured when it ends: who interrupts keeps it."""
    yield
    measured = request.node.funcargs.get("benchmark")
    if measured is not None and measured.enabled and measured.extra_info:
        _write(request.node.name.removeprefix("test_"), measured.extra_info)


def _write(benchmark: str, quantities: dict[str, dict[str, float]]) -> None:
    """Add rows to `data/benchmarks/<device>.csv`, one per quantity, with the facts.

    What was measured before under other names stays, with the facts of its time.
    """
    words = re.sub(
        r"\(\w+\)|[^a-z0-9]+", " ", f"{_device()} {os.cpu_count()} cores".lower()
    ).split()
    path = TABLES / f"{'-'.join(words)}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"benchmark": benchmark, "quantity": quantity, **numbers, **_facts()}
        for quantity, numbers in quantities.items()
    ]
    table = pd.DataFrame(rows)
    if path.is_file():
        old = pd.read_csv(path)
        table = pd.concat([old[old["benchmark"] != benchmark], table])
    table.to_csv(path, index=False, float_format="%.4g")


@functools.cache
def _facts() -> dict[str, Any]:
    """The machine, the versions, and when."""
    return {
        "device": _device(),
        "cores": os.cpu_count(),
        "torch": version("torch"),
        "timm": version("timm"),
        "freia": version("FrEIA"),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "date": datetime.date.today().isoformat(),
    }


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """Ours: the library's own examination takes many seconds on some machines."""
    return _facts()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was measured, one line per quantity."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    for one in session.benchmarks if session else ():
        for quantity, numbers in one.extra_info.items():
            low, high = numbers["low"], numbers["high"]
            terminalreporter.write_line(
                f"{one.name:<48}{quantity:<36}{numbers['value']:<10.4g}[{low:.4g}, {high:.4g}]"
            )


def _device() -> str:
    """The name of the GPU, or of the processor where the system tells it."""
    if DEVICE.type == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [
        line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()
