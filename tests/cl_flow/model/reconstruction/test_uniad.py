"""UniAD on features: the published size, tokens of one grid, jitter, the shortcut."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.metrics import image_auroc
from cl_flow.data.features import Features
from cl_flow.model import MODELS, UniAD, UniADConfig
from cl_flow.model.reconstruction.uniad import on_grid
from cl_flow.scoring import score_residuals
from cl_flow.training import train
from cl_flow.training.loop import rate_share

SMALL = UniADConfig(
    side=4,
    width=32,
    n_heads=4,
    hidden=64,
    n_encoder=1,
    n_decoder=1,
    window=3,
    dropout=0.0,
    epochs=40,
    batch_images=16,
    lr=3e-3,
)


def test_the_published_size_has_the_published_number_of_weights():
    model = UniAD([24, 32, 56, 160], [(56, 56), (28, 28), (14, 14), (14, 14)])
    assert sum(w.numel() for w in model.parameters()) == 7_717_392
    assert model.config.masked == 7
    x = [torch.randn(1, h * w, d) for (h, w), d in zip(model.grids, model.dims)]
    tokens = model.tokens(x)
    assert tokens.shape == (1, 196, 272) and model.residuals(tokens).shape == (1, 196)


@pytest.mark.parametrize(("side", "window"), [(14, 7), (16, 7), (8, 3), (6, 3), (2, 1)])
def test_a_window_is_half_the_grid_and_odd(side, window):
    assert UniADConfig(side=side).masked == window


@pytest.mark.parametrize(("changes", "message"), [
    ({"width": 30, "n_heads": 4}, "multiple of the heads; got 30 for 4"),
    ({"dropout": 1.0}, "dropout"),
    ({"side": 1}, "side"),
])  # fmt: skip
def test_a_shape_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        UniADConfig(**changes)


def test_levels_are_brought_to_one_grid():
    x = torch.arange(16.0).view(1, 16, 1)
    pooled = on_grid(x, (4, 4), 2)
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(on_grid(x, (4, 4), 4), x)
    assert torch.equal(on_grid(torch.ones(2, 4, 3), (2, 2), 5), torch.ones(2, 25, 3))
    flat = on_grid(x.repeat(3, 1, 1).flatten(0, 1), (4, 4), 2)
    assert torch.equal(flat, pooled.expand(3, -1, -1))


def test_jitter_is_the_published_at_its_number_of_channels():
    model = UniAD([272], [(14, 14)], UniADConfig(width=16, n_heads=2, hidden=16))
    tokens = torch.randn(4, 196, 272) * torch.rand(4, 196, 1) * 9
    moved = model.jittered(tokens, torch.Generator().manual_seed(0)) - tokens
    expected = 20 * tokens.norm(dim=-1) / 272
    assert (moved.std(-1) / expected).mean() == pytest.approx(1, abs=0.01)


def test_classes_are_names_and_nothing_else():
    model = UniAD([5], [(4, 4)], SMALL).expand_(["pill", "cable"]).expand_(1)
    assert model.categories == ("pill", "cable", "class 2") and model.sizes == (2, 1)
    with pytest.raises(KeyError, match="No image learned for zipper; known: pill"):
        model.class_ids(["zipper"])
    with pytest.raises(ValueError, match="new categories, each once; got pill"):
        model.expand_(["pill"])
    assert model.fresh().categories == ()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_goes_by_its_name(name):
    kind = MODELS[name]
    assert kind.name == name and re.fullmatch("[a-z]+", name)
    assert isinstance(kind.Config(), kind.Config)


# ---- training


def scenes(n: int, *, ill: bool = False, seed: int = 1) -> Features:
    """Images of four patterns; in an ill one some tokens are of another pattern."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(0).normal(size=(4, 16, 5))
    y = np.arange(n) % 4
    x = patterns[y]
    if ill:
        for image, k in zip(x, y):
            row, column = rng.integers(0, 3, 2)
            cells = (row + np.arange(2)[:, None]) * 4 + column + np.arange(2)
            image[cells.ravel()] = patterns[(k + 1) % 4][cells.ravel()]
    x = x + rng.normal(0, 0.7, x.shape)
    samples = pd.DataFrame({"category": "a", "split": "train", "label": [int(ill)] * n})
    return Features(samples, (x.astype(np.float16),), ((4, 4),), np.arange(n))


def trained(**changes) -> tuple[float, float]:
    """The loss on clean tokens, and the AUROC, on other images than were learned."""
    config = dataclasses.replace(SMALL, **changes)
    model = UniAD([5], [(4, 4)], config).expand_(["a"])
    train(model, scenes(128), config, progress=False)
    well, ill = (scenes(64, ill=ill, seed=2) for ill in (False, True))
    scores = [score_residuals(model, x, sigma=0).image("product") for x in (well, ill)]
    loss = model.losses(well.read(), torch.zeros(64), None)["mse"].item()
    return loss, image_auroc(np.repeat([0, 1], 64), torch.cat(scores).numpy())


def test_without_mask_and_jitter_it_copies_and_finds_nothing():
    loss, auroc = trained()
    shortcut, blind = trained(window=0, jitter=0.0)
    assert auroc > 0.95
    assert shortcut < 0.3 * loss and blind < auroc - 0.2


def test_training_lowers_the_loss_and_its_seed_decides_it():
    config = dataclasses.replace(SMALL, epochs=4, dropout=0.1)
    data = scenes(64)
    weights, losses = [], []
    for seed in (0, 0, 1):
        model = UniAD([5], [(4, 4)], config).expand_(["a"])
        losses.append(train(model, data, config, seed=seed, progress=False))
        weights.append(torch.cat([w.detach().flatten() for w in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    first = losses[0]
    assert list(first.columns) == ["epoch", "level", "term", "value"]
    assert set(first["term"]) == {"mse"} and set(first["level"]) == {0}
    assert first["value"].iloc[-1] < 0.9 * first["value"].iloc[0]


def test_the_rate_falls_once_and_jitter_is_1_2_root_mean_squares():
    shares = [rate_share(step, 10, UniADConfig()) for step in range(10)]
    assert shares == [1.0] * 8 + [0.1] * 2
    assert math.isclose(UniADConfig().jitter, 1.2127, abs_tol=1e-4)
