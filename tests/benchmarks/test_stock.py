"""What is timed side by side computes the same."""

from pathlib import Path

import pytest
import torch

from cl_flow.losses import hgad_losses, hgad_total
from tests.benchmarks.page import page
from tests.benchmarks.sizes import SIZES, batch_of, model_of
from tests.benchmarks.stock import StockLevel, stock_total

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
def test_stock_blocks_and_textbook_losses_give_our_loss_and_gradient(size):
    model, batch = model_of(size, CPU), batch_of(size, CPU)
    levels = [StockLevel(level, size.config) for level in model.levels]
    theirs = stock_total(levels, batch)
    theirs.backward()
    ours = 0.0
    for level, x, index in zip(model.levels, batch.x, batch.index):
        ours = ours + hgad_total(hgad_losses(level.mixture, *level(x, index), batch.y, intra=True))
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for level, stock in zip(model.levels, levels):
        torch.testing.assert_close(level.mixture.mu.grad, stock.mu.grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            level.flow[0].outer.weight.grad, stock.flow[0].subnet[2].weight.grad, rtol=1e-2, atol=1e-4
        )


def test_readme_shows_what_was_measured():
    repository = Path(__file__).resolve().parents[2]
    assert page(repository / "data" / "benchmarks" / "cpu.csv") in (repository / "README.md").read_text()
