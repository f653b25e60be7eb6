"""The transformer is UniAD's: its count, its mask, torch's own layers as oracles."""

import math

import pytest
import torch
from torch import nn

from cl_flow.model.reconstruction.transformer import (
    Attention,
    Encoding,
    Transformer,
    dropped,
    neighbour_mask,
)

SHAPE = {
    "side": 6,
    "width": 16,
    "n_heads": 4,
    "hidden": 32,
    "n_encoder": 2,
    "n_decoder": 2,
    "window": 3,
    "dropout": 0.1,
}


def net(**changes) -> Transformer:
    return Transformer(5, **SHAPE | changes)


def tokens(n: int = 2, *, side: int = 6, channels: int = 5) -> torch.Tensor:
    return torch.randn(n, side**2, channels)


def test_the_mask_is_the_published_one():
    side, window = 7, 3
    expected = torch.ones(side, side, side, side)
    for i in range(side):
        for j in range(side):
            rows = slice(max(i - window // 2, 0), min(i + window // 2 + 1, side))
            columns = slice(max(j - window // 2, 0), min(j + window // 2 + 1, side))
            expected[i, j, rows, columns] = 0
    mask = neighbour_mask(side, window)
    assert torch.equal(mask == 0, expected.view(side**2, side**2) == 1)
    assert mask.diagonal().eq(-math.inf).all()
    assert neighbour_mask(side, 0) is None


@pytest.mark.parametrize(("side", "window"), [(4, 7), (4, 5), (5, 5), (6, 4), (2, 3)])
def test_a_window_that_hides_everything_is_refused(side, window):
    with pytest.raises(ValueError, match="odd window that leaves each token another"):
        neighbour_mask(side, window)


@pytest.mark.parametrize("side", range(2, 12))
def test_the_largest_window_leaves_each_token_another(side):
    largest = max(1, 2 * (side // 2) - 1)
    assert not neighbour_mask(side, largest).isinf().all(1).any()


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.usefixtures("float64")
def test_attention_is_torchs(window):
    mine = Attention(16, 4, 0.0)
    nn.init.normal_(mine.inward_bias)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = (
        mine.inward.data,
        mine.inward_bias.data,
    )
    theirs.out_proj = mine.outward
    memory, code = tokens(channels=16), torch.randn(36, 16)
    asked, mask = torch.randn(1, 36, 16), neighbour_mask(6, window)
    out, _ = theirs(asked.expand(2, -1, -1), memory + code, memory, attn_mask=mask)
    torch.testing.assert_close(mine(asked, memory, code, mask, None), out)


@pytest.mark.usefixtures("float64")
def test_a_layer_of_the_encoder_is_torchs():
    mine = Encoding(16, 4, 32, 0.0)
    theirs = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    theirs.self_attn.in_proj_weight.data = mine.attention.inward.data
    theirs.self_attn.in_proj_bias.data = mine.attention.inward_bias.data
    theirs.self_attn.out_proj = mine.attention.outward
    theirs.linear1, theirs.linear2 = mine.feed.linear1, mine.feed.linear2
    theirs.norm1, theirs.norm2 = mine.norms
    x, mask = tokens(channels=16), neighbour_mask(6, 3)
    code = torch.zeros(36, 16)
    out = theirs.train()(x, src_mask=mask)
    torch.testing.assert_close(mine(x, code, mask, None, None), out)


@pytest.mark.usefixtures("float64")
def test_under_noise_attention_is_the_same_but_for_what_is_dropped():
    attention = Attention(16, 4, 1e-15)
    memory, code, mask = tokens(channels=16), torch.randn(36, 16), neighbour_mask(6, 3)
    one, other = (
        attention(memory, memory, code, mask, noise)
        for noise in (None, torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(one, other)


def test_what_is_dropped_leaves_the_mean():
    noise = torch.Generator().manual_seed(0)
    x = dropped(torch.ones(100_000), 0.25, noise)
    assert sorted(x.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert x.mean() == pytest.approx(1, abs=0.01)
    assert dropped(x, 0.0, noise) is x and dropped(x, 0.25, None) is x


def test_without_memory_nothing_of_the_image_is_left():
    model = net()
    one, other = (model.encode(tokens()) for _ in range(2))
    blank, plain = (
        [model.decode(memory * share)[-1] for memory in (one, other)]
        for share in (0.0, 1.0)
    )
    assert torch.equal(*blank)
    assert (plain[0] - plain[1]).abs().max() > 0.1


def test_the_first_attention_of_a_decoding_layer_does_not_look_near():
    model = net()
    layer, mask = model.decoder[0], model.mask
    memory = tokens(1, channels=16).requires_grad_()
    asked = (layer.queries + model.code())[None]
    found = layer.of_memory(asked, memory, model.code(), mask, None)
    for i in range(36):
        (gradient,) = torch.autograd.grad(
            found[0, i].square().sum(), memory, retain_graph=True
        )
        seen = gradient[0].abs().sum(1) > 0
        assert torch.equal(seen, mask[i] == 0)


def test_noise_is_drawn_from_its_generator_alone():
    model, x = net(), tokens()
    one, again, other = (
        model(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(model(x), model(x))
