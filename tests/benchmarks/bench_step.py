"""The training step: against FrEIA's stock blocks with the textbook losses, and against the machine's own products."""

from collections.abc import Callable

import pytest
import torch

from cl_flow.adam import FlatAdam
from cl_flow.coupling import reuse_memory
from cl_flow.flow import trainable
from cl_flow.threads import threads
from cl_flow.train import TrainConfig, _differentiate
from tests.benchmarks.conftest import keep
from tests.benchmarks.sizes import SIZES, Size, batch_of, model_of, step_flops
from tests.benchmarks.stock import StockLevel, stock_total

SQUARE = 2048


def our_step(size: Size, device: torch.device) -> Callable[[], None]:
    """One step as `train` takes it."""
    model, batch, config = model_of(size, device), batch_of(size, device), TrainConfig()
    optimizer = FlatAdam(trainable(model, weight_decay=config.weight_decay), betas=config.betas)

    def step() -> None:
        _differentiate(model, batch, config, True, None, {})
        optimizer.step(1e-5)

    return step


def their_step(size: Size, device: torch.device, *, compiled: bool = False) -> Callable[[], None]:
    """The same on stock blocks: same weights, same batch."""
    model, batch = model_of(size, device), batch_of(size, device)
    levels = torch.nn.ModuleList(StockLevel(level, size.config) for level in model.levels).to(device)
    optimizer = torch.optim.Adam(levels.parameters(), lr=1e-5, betas=(0.95, 0.99), weight_decay=1e-4)
    total = torch.compile(stock_total) if compiled else stock_total

    def step() -> None:
        optimizer.zero_grad()
        total(levels, batch).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("size", SIZES)
def test_step_against_stock(by_turns, one_thread, device, size):
    with reuse_memory():
        by_turns(our_step(SIZES[size], device), their_step(SIZES[size], device), rounds=7 if size == "hgad" else 101)


@pytest.mark.parametrize("size", SIZES)
def test_step_against_products(by_turns, one_thread, device, size):
    """Utilisation: the rate of the step's products beside that of one large square product."""
    a, b = torch.randn(2, SQUARE, SQUARE, device=device).unbind()
    out, unit = torch.empty_like(a), step_flops(SIZES[size]) / (2 * SQUARE**3)
    with reuse_memory():
        step, rounds = our_step(SIZES[size], device), 7 if size == "hgad" else 51
        by_turns(step, lambda: torch.mm(a, b, out=out), rounds=rounds, ratio="share", unit=unit)


@pytest.mark.parametrize("size", SIZES)
def test_step_on_every_core(by_turns, size):
    """What more threads would give a single run; several runs share the cores without it."""
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
    """On a GPU with `torch.set_float32_matmul_precision("high")`: the gain, and the error of log-determinants."""
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
        pairs = [precise(p, lambda: model.levels[0](batch.x[0])[1])() for p in ("high", "highest")]
    keep(benchmark, "error of log-det per dimension", (pairs[0] - pairs[1]).abs().cpu().numpy() / size.dim)
    with reuse_memory():
        by_turns(precise("high", our_step(size, device)), precise("highest", our_step(size, device)), rounds=31)


def test_step_against_compiled_stock(by_turns, one_thread, device):
    """What `torch.compile` makes of the stock blocks and the textbook losses."""
    size = SIZES["synthetic"]
    with reuse_memory():
        by_turns(our_step(size, device), their_step(size, device, compiled=True), rounds=101)
