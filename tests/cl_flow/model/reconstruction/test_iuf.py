"""IUF: told the classes; attention that knows the object; room kept free; updates."""

import dataclasses

import pytest
import torch

from cl_flow.data.patches import Batch
from cl_flow.model import IUF, IUFConfig
from cl_flow.model.reconstruction.iuf import Compression
from cl_flow.training.reconstruction import LaterStep, projections, step_of

SMALL = IUFConfig(
    side=4,
    width=16,
    n_heads=4,
    hidden=32,
    n_encoder=2,
    n_decoder=3,
    n_classes=3,
    gate_hidden=8,
)


def model(n_tasks: int = 1, **changes) -> IUF:
    config = dataclasses.replace(SMALL, **changes)
    made = IUF([5], [(4, 4)], config)
    for i in range(n_tasks):
        made.expand_([f"class {i}"])
    return made


def batch(n: int = 6) -> Batch:
    return Batch([torch.randn(n * 16, 5)], [None], torch.zeros(n, dtype=torch.long))


def test_it_is_told_the_number_of_classes_and_says_so():
    assert "told 3 classes beforehand" in repr(model())
    with pytest.raises(ValueError, match="at most 3 classes, as IUF was told.*got 4"):
        model().expand_(["a", "b", "c"])
    with pytest.raises(ValueError, match="number of classes, which IUF is told"):
        model(n_classes=None)
    assert IUF.told(IUFConfig(), 15).n_classes == 15
    assert IUF.told(IUFConfig(n_classes=12), 15).n_classes == 12


def test_its_attention_has_no_mask_and_is_gated_by_the_discriminator():
    one = model()
    assert one.net.mask is None
    tokens = torch.randn(2, 16, 5)
    before = one.reconstructed(tokens)
    with torch.no_grad():
        one.discriminator.blocks[0].outward.bias.add_(1.0)
    assert not torch.equal(one.reconstructed(tokens), before)
    alone = one.net(tokens)
    assert not torch.allclose(before, alone)


def test_reconstruction_teaches_the_discriminator_nothing():
    one, given = model(), batch()
    terms = one.losses(given.x, given.y, torch.Generator())
    terms["mse"].backward(retain_graph=True)
    assert all(w.grad is None for w in one.discriminator.parameters())
    terms["ce"].backward()
    assert all(w.grad is not None for w in one.discriminator.parameters())


def test_its_attention_sees_rows_alone():
    one = model()
    block = one.discriminator.blocks[0]
    x = torch.randn(1, 4, 4, 16, requires_grad=True)
    block(x)[0, 1, 2].sum().backward()
    rows = x.grad.abs().sum((0, 2, 3)) > 0
    assert rows.tolist() == [False, True, False, False]


def test_images_are_routed_among_classes_that_have_arrived():
    one = model(2)
    with torch.no_grad():
        one.discriminator.head[-1].bias.copy_(torch.tensor([0.0, 50.0, 100.0]))
    assert one.routed(torch.randn(3, 16, 5)).tolist() == [1, 1, 1]


# ---- compression


@pytest.mark.parametrize("attached", [True, False])
def test_as_released_compression_has_no_gradient(attached):
    config = dataclasses.replace(SMALL, attached=attached)
    compression = Compression(config, 1)
    direction = torch.randn(16)
    features = torch.randn(8, 1, 1) * direction + 1e-3 * torch.randn(8, 4, 16)
    features.requires_grad_()
    value = compression([features])
    assert value > 0
    if attached:
        value.backward()
        assert features.grad.abs().sum() > 0
    else:
        assert not value.requires_grad


def test_compression_is_the_sum_of_small_shares_of_a_queue():
    config = dataclasses.replace(SMALL, queue=12, narrow=1.0)
    compression = Compression(config, 2)
    seen = [[torch.randn(8, 4, 16) for _ in range(2)] for _ in range(3)]
    for features in seen:
        value = compression(features)
    expected = []
    for layer in range(2):
        means = torch.cat([features[layer].mean(1) for features in seen])[-20:]
        shares = torch.linalg.svdvals(means)
        shares = shares / shares.sum()
        expected.append(shares[shares < 1 / 16].sum())
    torch.testing.assert_close(value, torch.stack(expected).mean())
    assert [len(queue) for queue in compression.queues] == [12, 12]


@pytest.mark.parametrize(("n_tasks", "terms"), [
    (1, {"mse", "ce", "scl"}),
    (2, {"mse", "ce"}),
])  # fmt: skip
def test_only_the_first_task_is_compressed(n_tasks, terms):
    one = model(n_tasks)
    step = step_of(one, 0)
    step(batch(), 1e-4, intra=True)
    assert {name for _, name in step.read()} == terms and step.read() == {}


# ---- later tasks


def test_a_gradient_along_the_main_direction_is_projected_away():
    means = torch.randn(40, 16, dtype=torch.float64) * torch.linspace(3, 0.1, 16)
    (kept,) = projections((means.T @ means)[None])
    *_, v = torch.linalg.svd(means)
    first, last = (
        torch.outer(v[0], torch.randn(7).double()),
        torch.outer(v[-1], torch.randn(7).double()),
    )
    torch.testing.assert_close(kept @ first, torch.zeros_like(first), atol=1e-9, rtol=0)
    torch.testing.assert_close(kept @ last, last)
    shares = torch.stack([v[i] @ kept @ v[i] for i in range(16)])
    places = torch.arange(1, 17).double()
    torch.testing.assert_close(shares, places.log() / places[-1].log())


@pytest.mark.parametrize("projected", [True, False])
def test_later_steps_do_not_lead_far_from_the_last_task(projected):
    one = model(2, projected=projected)
    with torch.no_grad():
        one.moments.copy_(torch.eye(16).expand_as(one.moments))
    step = step_of(one, 0)
    assert isinstance(step, LaterStep) and step.peak == 1.0
    norms = []
    for _ in range(60):
        step(batch(), step.peak, intra=True)
        moved = [w - old for w, old in zip(one.parameters(), step.old)]
        norms.append(torch.cat([d.flatten() for d in moved]).norm().item())
    assert 0 < max(norms) <= 0.1 / 0.05 * (1 + 1e-4)


def test_what_images_make_of_a_layer_is_gathered_over_tasks():
    one = model()
    x = [torch.randn(8, 16, 5)]
    one.gather_([x])
    first = one.moments.clone()
    assert first.shape == (5, 16, 16) and first.diagonal(dim1=1, dim2=2).min() > 0
    one.gather_([[x[0][:4]], [x[0][4:]]])
    torch.testing.assert_close(one.moments, 2 * first)
    assert "moments" in one.state_dict()
