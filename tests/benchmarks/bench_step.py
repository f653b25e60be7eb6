"""The training step: against FrEIA's stock blocks with the textbook losses, and against
the machine's own products.
"""

import collections
from collections.abc import Callable

import pytest
import torch

from cl_flow.devices import threads
from cl_flow.model.flow import trainable
from cl_flow.model.kernels.adam import FusedAdam
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.training.config import TrainConfig
from cl_flow.training.loop import _differentiate
from tests.benchmarks.conftest import keep
from tests.benchmarks.sizes import SIZES, Size, batch_of, flops, model_of, step_products
from tests.benchmarks.stock import StockLevel, stock_total

SQUARE = 2048


def our_step(size: Size, device: torch.device) -> Callable[[], None]:
    """One step as `train` takes it."""
    model, batch, config = model_of(size, device), batch_of(size, device), TrainConfig()
    optimizer = FusedAdam(
        trainable(model, weight_decay=config.weight_decay), betas=config.betas
    )

    def step() -> None:
        _differentiate(model, batch, config, True, None, {})
        optimizer.step(1e-5)

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
    total = torch.compile(stock_total) if compiled else stock_total

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


@pytest.mark.parametrize("size", SIZES)
def test_step_against_stock(by_turns, one_thread, device, size):
    """In turns of 10 steps at the size where a step is short."""
    n, rounds = (1, 7) if size == "hgad" else (10, 21)
    with reuse_memory():
        by_turns(
            times(n, our_step(SIZES[size], device)),
            times(n, their_step(SIZES[size], device)),
            rounds=rounds,
        )


@pytest.mark.parametrize("size", SIZES)
def test_step_against_a_square_product(by_turns, one_thread, device, size):
    """The rate of the step's products beside that of one large square product, which no
    flow comes to.
    """
    a, b = torch.randn(2, SQUARE, SQUARE, device=device).unbind()
    out, unit = torch.empty_like(a), flops(step_products(SIZES[size])) / (2 * SQUARE**3)
    with reuse_memory():
        step, rounds = our_step(SIZES[size], device), 9 if size == "hgad" else 51
        by_turns(
            step,
            lambda: torch.mm(a, b, out=out),
            rounds=rounds,
            ratio="share",
            unit=unit,
        )


@pytest.mark.parametrize("size", SIZES)
def test_step_against_its_products(by_turns, one_thread, device, size):
    """The share of the step's time that its matrix products take when they are all that
    is computed.
    """
    shapes = collections.Counter(step_products(SIZES[size]))
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
            our_step(SIZES[size], device),
            products,
            rounds=9 if size == "hgad" else 101,
            ratio="share",
        )


@pytest.mark.parametrize("size", SIZES)
def test_step_on_every_core(by_turns, size):
    """What more threads would give a single run; several runs share the cores without
    it.
    """
    if torch.cuda.is_available():
        pytest.skip("a question for CPUs")

    def on(n: int) -> Callable[[], None]:
        step = our_step(SIZES[size], torch.device("cpu"))

        def call() -> None:
            with threads(n):
                step()

        return call

    with reuse_memory():
        by_turns(on(torch.get_num_threads()), on(1), rounds=7 if size == "hgad" else 51)


def test_step_in_tf32(benchmark, by_turns, device):
    """On a GPU with `torch.set_float32_matmul_precision("high")`: the gain, and the
    error of log-determinants.
    """
    if device.type != "cuda":
        pytest.skip("needs a GPU")
    size = SIZES["hgad"]
    model, batch = model_of(size, device), batch_of(size, device)

    def precise(precision: str, function: Callable[[], object]) -> Callable[[], object]:
        def call() -> object:
            torch.set_float32_matmul_precision(precision)
            try:
                return function()
            finally:
                torch.set_float32_matmul_precision("highest")

        return call

    with torch.no_grad():
        pairs = [
            precise(p, lambda: model.levels[0](batch.x[0])[1])()
            for p in ("high", "highest")
        ]
    keep(
        benchmark,
        "error of log-det per dimension",
        (pairs[0] - pairs[1]).abs().cpu().numpy() / size.dim,
    )
    with reuse_memory():
        by_turns(
            precise("high", our_step(size, device)),
            precise("highest", our_step(size, device)),
            rounds=31,
        )


def test_step_against_compiled_stock(by_turns, one_thread, device):
    """What `torch.compile` makes of the stock blocks and the textbook losses."""
    size = SIZES["synthetic"]
    with reuse_memory():
        by_turns(
            times(10, our_step(size, device)),
            times(10, their_step(size, device, compiled=True)),
            rounds=21,
        )
