"""What is timed side by side computes the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_flow.model.flow import FlowConfig
from cl_flow.model.losses import hgad_losses, hgad_total
from cl_flow.scoring.scores import score
from tests.benchmarks.bench_scoring import images_of
from tests.benchmarks.page import page
from tests.benchmarks.sizes import Size, batch_of, model_of
from tests.benchmarks.stock import StockLevel, stock_maps, stock_normality, stock_total

CPU = torch.device("cpu")
TABLES = sorted(Path(__file__).parents[2].glob("data/benchmarks/*.csv"))
FLOW = FlowConfig(n_blocks=3, n_components=4, position_dim=8)
SMALL = [
    Size(12, ((4, 4), (2, 2)), FLOW, n_images=3, n_patches=n, n_classes=5)
    for n in (None, 3)
]


@pytest.mark.parametrize("size", SMALL)
def test_stock_blocks_and_textbook_losses_give_our_loss_and_gradient(size):
    model, batch = model_of(size, CPU), batch_of(size, CPU)
    levels = [StockLevel(level, size.config) for level in model.levels]
    theirs = stock_total(levels, batch)
    theirs.backward()
    ours = 0.0
    for level, x, index in zip(model.levels, batch.x, batch.index):
        ours = ours + hgad_total(
            hgad_losses(level.mixture, *level(x, index), batch.y, intra=True)
        )
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for level, stock in zip(model.levels, levels):
        torch.testing.assert_close(
            level.mixture.mu.grad, stock.mu.grad, rtol=1e-3, atol=1e-5
        )
        torch.testing.assert_close(
            level.flow[0].outer.weight.grad,
            stock.flow[0].subnet[2].weight.grad,
            rtol=1e-2,
            atol=1e-4,
        )


@pytest.mark.parametrize("size", SMALL)
def test_scores_image_by_image_are_ours_of_the_set(size, tmp_path):
    model = model_of(size, CPU)
    images = images_of(size, 4, tmp_path)
    ours = score(model, images, "set", size=(32, 32)).product.numpy()
    levels = [StockLevel(level, size.config) for level in model.levels]
    singly = [
        stock_normality(levels, [x[0].float() for x in images.read([i])], 0)
        for i in range(4)
    ]
    theirs = stock_maps(singly, size.grids, 32, 4.0)
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_machine_that_was_measured_has_its_ratios_in_words(path):
    assert len(page(path).splitlines()) > 2
