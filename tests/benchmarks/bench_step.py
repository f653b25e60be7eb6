"""The training step: against FrEIA's stock blocks with the textbook losses, and against
the machine's own products.
"""

import collections
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
import torch

from cl_flow.devices import Lane, lanes, threads
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.training.config import TrainConfig
from cl_flow.training.step import WARM_UP, CapturedStep, Step
from tests.benchmarks.conftest import DEVICE, keep, on_a_cpu, on_a_gpu, precision
from tests.benchmarks.sizes import (
    GPU_SIZES,
    SIZES,
    Size,
    batch_of,
    flops,
    model_of,
    step_products,
)
from tests.benchmarks.stock import StockLevel, stock_total

# Sides of a product that a device does as fast as any.
SQUARE = 8192 if DEVICE.type == "cuda" else 2048
TIMED = GPU_SIZES if DEVICE.type == "cuda" else SIZES
# Held until a benchmark ends: nobody else may compute where a step was recorded.
LANES = ExitStack()


def our_step(size: Size, device: torch.device) -> Callable[[], None]:
    """One step as `train` takes it."""
    model, batch, config = model_of(size, device), batch_of(size, device), TrainConfig()
    own = LANES.enter_context(lanes(device, len(model.levels)))
    kind = CapturedStep if device.type == "cuda" else Step
    step = partial(kind(model, config, None, own), batch, 1e-5, intra=True)
    for _ in range(WARM_UP + 1 if device.type == "cuda" else 0):
        step()
    return step


def their_step(
    size: Size, device: torch.device, *, compiled: bool = False
) -> Callable[[], None]:
    """The same on stock blocks: same weights, same batch."""
    model, batch = model_of(size, device), batch_of(size, device)
    levels = torch.nn.ModuleList(
        StockLevel(level, size.config) for level in model.levels
    ).to(device)
    optimizer = torch.optim.Adam(
        levels.parameters(), lr=1e-5, betas=(0.95, 0.99), weight_decay=1e-4
    )
    total = stock_total
    if compiled:
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        total = torch.compile(stock_total, mode=mode)

    def step() -> None:
        optimizer.zero_grad()
        total(levels, batch).backward()
        optimizer.step()

    return step


def times(n: int, step: Callable[[], None]) -> Callable[[], None]:
    """So many steps in a row, as training takes them: the caches hold what one's own
    last step left there.
    """

    def call() -> None:
        for _ in range(n):
            step()

    return call


@pytest.fixture(autouse=True)
def lanes_are_given_back():
    """The lanes that a benchmark's steps were recorded on."""
    with LANES:
        yield


@pytest.mark.parametrize("size", TIMED)
def test_step_against_stock(by_turns, one_thread, device, size):
    """In turns of 10 steps at the size where a step is short."""
    n, rounds = (10, 21) if size == "synthetic" else (1, 7)
    with reuse_memory():
        by_turns(
            times(n, our_step(TIMED[size], device)),
            times(n, their_step(TIMED[size], device)),
            rounds=rounds,
        )


@pytest.mark.parametrize("size", TIMED)
def test_step_against_a_square_product(by_turns, one_thread, device, size):
    """The rate of the step's products beside that of one large square product, which no
    flow comes to.
    """
    a, b = torch.randn(2, SQUARE, SQUARE, device=device).unbind()
    out, unit = torch.empty_like(a), flops(step_products(TIMED[size])) / (2 * SQUARE**3)
    with reuse_memory():
        step, rounds = our_step(TIMED[size], device), 51 if size == "synthetic" else 9
        by_turns(
            step,
            lambda: torch.mm(a, b, out=out),
            rounds=rounds,
            ratio="share",
            unit=unit,
        )


@pytest.mark.parametrize("size", TIMED)
def test_step_against_its_products(by_turns, one_thread, device, size):
    """The share of the step's time that its matrix products take when they are all that
    is computed.
    """
    shapes = collections.Counter(step_products(TIMED[size]))
    factors = [
        (
            torch.randn(m, k, device=device),
            torch.randn(k, n, device=device),
            torch.empty(m, n, device=device),
            count,
        )
        for (m, k, n), count in shapes.items()
    ]

    def products() -> None:
        for a, b, out, count in factors:
            for _ in range(count):
                torch.mm(a, b, out=out)

    with reuse_memory():
        by_turns(
            our_step(TIMED[size], device),
            _called_whole(products, device),
            rounds=101 if size == "synthetic" else 9,
            ratio="share",
        )


def _called_whole(function: Callable[[], None], device: torch.device) -> Callable:
    """The function; on a GPU recorded, as our step is."""
    if device.type != "cuda":
        return function
    function()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


@on_a_cpu
@pytest.mark.parametrize("size", SIZES)
def test_step_on_every_core(by_turns, size):
    """What more threads would give a single run; several runs share the cores without
    it.
    """

    def on(n: int) -> Callable[[], None]:
        step = our_step(SIZES[size], torch.device("cpu"))

        def call() -> None:
            with threads(n):
                step()

        return call

    with reuse_memory():
        by_turns(on(torch.get_num_threads()), on(1), rounds=7 if size == "hgad" else 51)


@on_a_gpu
@pytest.mark.parametrize("size", TIMED)
def test_step_in_tf32(benchmark, by_turns, device, size):
    """With `torch.set_float32_matmul_precision("high")`: the gain, and the error of
    log-determinants.
    """
    model, batch = model_of(TIMED[size], device), batch_of(TIMED[size], device)
    pairs = []
    with torch.no_grad():
        for name in ("high", "highest"):
            with precision(name):
                pairs.append(model.levels[0](batch.x[0], batch.index[0])[1])
    error = (pairs[0] - pairs[1]).abs().cpu().numpy() / TIMED[size].dim
    keep(benchmark, "error of log-det per dimension", error)
    with reuse_memory():
        with precision("high"):  # recorded at this precision, and replayed at it
            quick = our_step(TIMED[size], device)
        by_turns(quick, our_step(TIMED[size], device), rounds=31)


@pytest.mark.parametrize("size", ["hgad", "synthetic"])
def test_step_against_compiled_stock(by_turns, one_thread, device, size):
    """What `torch.compile` makes of the stock blocks and the textbook losses; on a GPU
    recorded as well, and both in TF32.
    """
    if device.type == "cpu" and size == "hgad":
        pytest.skip("compiles for minutes")
    n = 10 if size == "synthetic" else 1
    with reuse_memory(), precision("high" if device.type == "cuda" else "highest"):
        by_turns(
            times(n, our_step(SIZES[size], device)),
            times(n, their_step(SIZES[size], device, compiled=True)),
            rounds=21,
        )


@on_a_gpu
@pytest.mark.parametrize("size", SIZES)
def test_steps_of_several_runs_on_one_card(benchmark, device, size):
    """Steps per second of 1, 2 and 4 runs, a thread and lanes each."""
    n_steps = 200 if size == "synthetic" else 40
    for n in (1, 2, 4):
        with LANES:
            rate = n * n_steps / _side_by_side(SIZES[size], device, n, n_steps)
        keep(benchmark, f"steps per second of {n} runs", rate)
    benchmark.pedantic(lambda: None)


def _side_by_side(size: Size, device: torch.device, n: int, n_steps: int) -> float:
    """Seconds until each of n threads has taken so many steps."""
    ready = threading.Barrier(n + 1)

    def work(lane: Lane) -> None:
        torch.cuda.set_stream(lane.stream)
        with reuse_memory():
            step = our_step(size, device)
            lane.stream.synchronize()
            ready.wait(60)
            for _ in range(n_steps):
                step()
            lane.stream.synchronize()

    with lanes(device, n) as own, ThreadPoolExecutor(n) as pool:
        jobs = [pool.submit(work, lane) for lane in own]
        ready.wait(60)
        begun = time.perf_counter()
        for job in jobs:
            job.result()
        return time.perf_counter() - begun
