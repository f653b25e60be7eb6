"""The written-out gradient against the plain blocks and finite differences; its memory."""

import pytest
import torch
from torch.func import functional_call

from cl_flow.model.coupling import Coupling
from cl_flow.model.kernels import couplings
from cl_flow.model.kernels.couplings import Block, couple, reuse_memory
from cl_flow.model.positions import Positions

pytestmark = pytest.mark.usefixtures("float64")

CLAMP = 1.9
# A plain block's names of the weights that a `Block` holds, in its order.
NAMES = (
    "inner_weight",
    "position_weight",
    "inner_bias",
    "outer.weight",
    "outer.bias",
    "global_scale",
    "global_offset",
    "rotation",
)


def arguments(
    dim: int,
    *,
    index: bool,
    n_blocks: int = 3,
    cells: int = 4,
    hidden: int = 6,
    n: int = 8,
):
    """Patches, position codes, cells and blocks.

    Every weight is away from its initial value.
    """
    generator = torch.Generator().manual_seed(dim)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(
            *shape, generator=generator, dtype=torch.float64
        ).requires_grad_()

    half = dim // 2
    split = dim - dim // 2
    blocks = [
        Block(
            inner=draw(hidden, split),
            position=draw(hidden, 3),
            inner_bias=draw(hidden),
            outer=draw(2 * half, hidden),
            outer_bias=draw(2 * half),
            scale=draw(dim),
            offset=draw(dim),
            rotation=torch.linalg.qr(draw(dim, dim).detach()).Q,
        )
        for _ in range(n_blocks)
    ]
    rows = torch.randint(cells, (n,), generator=generator) if index else None
    return draw(n, dim), draw(cells, 3).detach(), rows, blocks


def formula(x, table, index, blocks):
    """The plain blocks one after the other, with the given weights."""
    dim = x.shape[1]
    hidden = len(blocks[0].inner_bias)
    plain = Coupling([(dim,)], [(3,)], hidden=hidden, clamp=CLAMP, seed=0)
    positions = [Positions(table, index)]
    total = 0
    for block in blocks:
        weights = dict(zip(NAMES, block))
        (x,), log_det = functional_call(plain, weights, ([x], positions))
        total = total + log_det
    return x, total


def learnt(x, blocks) -> list[torch.Tensor]:
    return [
        value
        for value in (x, *(weight for block in blocks for weight in block))
        if value.requires_grad
    ]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("dim", [2, 5, 8])
def test_value_and_gradient_are_those_of_the_formula(dim, index):
    values = arguments(dim, index=index)
    ours = couple(*values, clamp=CLAMP)
    theirs = formula(*values)
    weights = [torch.randn_like(value) for value in ours]
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    inputs = learnt(values[0], values[-1])
    assert len(inputs) == 1 + 3 * 7
    for a, b in zip(
        *(torch.autograd.grad(out, inputs, weights) for out in (ours, theirs))
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_block_holds_the_weights_of_the_plain_one():
    plain = Coupling([(5,)], [(3,)], hidden=6, clamp=CLAMP, seed=0)
    state = plain.state_dict(keep_vars=True)
    assert all(value is state[name] for name, value in zip(NAMES, plain.block))
    assert set(state) == set(NAMES)


@pytest.mark.parametrize(
    "cells, n, index",
    [(4, 16, False), (5, 15, False), (9, 18, False), (4, 17, True), (5, 1, True)],
)
@pytest.mark.parametrize("strip", [2, 4, 6, 9])
def test_patches_go_through_in_strips_of_any_grid(strip, cells, n, index, monkeypatch):
    values = arguments(5, index=index, cells=cells, n=n)
    monkeypatch.setattr("cl_flow.model.kernels.memory.STRIP", strip)
    with torch.no_grad():
        torch.testing.assert_close(
            couple(*values, clamp=CLAMP), formula(*values), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("cells, n", [(4, 16), (5, 15), (9, 9)])
@pytest.mark.parametrize("rows", [1, 2, 4, 10])
def test_codes_are_added_to_parts_of_a_grid_or_to_several_grids(
    cells, n, rows, monkeypatch
):
    values = arguments(5, index=False, cells=cells, n=n)
    monkeypatch.setattr(
        "cl_flow.model.kernels.memory.PART", rows * len(values[-1][0].inner_bias)
    )
    ours = couple(*values, clamp=CLAMP)
    theirs = formula(*values)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    inputs = learnt(values[0], values[-1])
    for a, b in zip(
        *(torch.autograd.grad(out[0].square().sum(), inputs) for out in (ours, theirs))
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_half_a_grid_is_refused():
    x, table, _, blocks = arguments(5, index=False, cells=4, n=16)
    for mode in (torch.enable_grad, torch.no_grad):
        with mode(), pytest.raises(RuntimeError, match="invalid for input of size"):
            couple(x[:14], table, None, blocks, clamp=CLAMP)


def test_gradient_is_that_of_finite_differences():
    x, table, index, blocks = arguments(5, index=True, n_blocks=2)
    rotations = [block.rotation for block in blocks]

    def run(x, *weights):
        rows = [weights[7 * b : 7 * b + 7] for b in range(2)]
        return couple(
            x,
            table,
            index,
            [Block(*row, r) for row, r in zip(rows, rotations)],
            clamp=CLAMP,
        )

    assert torch.autograd.gradcheck(run, learnt(x, blocks), atol=1e-5)


@pytest.mark.parametrize("frozen", [{0}, {1}, {2}, {0, 1}, {0, 2}])
@pytest.mark.parametrize("of_input", [True, False])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(frozen, of_input):
    x, table, index, blocks = arguments(5, index=True)
    whole = torch.autograd.grad(
        couple(x, table, index, blocks, clamp=CLAMP)[0].square().sum(),
        learnt(x, blocks),
    )
    expected = {id(value): grad for value, grad in zip(learnt(x, blocks), whole)}
    for b in frozen:
        for weight in blocks[b]:
            weight.requires_grad_(False)
    x.requires_grad_(of_input)
    remaining = [x] * of_input + learnt(
        x, [block for b, block in enumerate(blocks) if b not in frozen]
    )[of_input:]
    grads = torch.autograd.grad(
        couple(x, table, index, blocks, clamp=CLAMP)[0].square().sum(), remaining
    )
    assert all(
        torch.equal(grad, expected[id(value)]) for value, grad in zip(remaining, grads)
    )


def test_inputs_keep_their_bits():
    x, table, index, blocks = arguments(6, index=False)
    values = [x, table, *(weight for block in blocks for weight in block)]
    before = [value.detach().clone() for value in values]
    z, log_det = couple(x, table, index, blocks, clamp=CLAMP)
    (z.square().sum() + log_det.sum()).backward()
    assert all(torch.equal(a, b) for a, b in zip(values, before))


def test_without_a_gradient_the_value_is_the_same():
    values = arguments(5, index=False)
    expected = couple(*values, clamp=CLAMP)
    with torch.no_grad():
        assert all(
            torch.equal(a, b) for a, b in zip(couple(*values, clamp=CLAMP), expected)
        )


def test_passes_without_a_gradient_keep_the_place_of_one_block(monkeypatch):
    monkeypatch.setattr("cl_flow.model.kernels.memory.STRIP", 4)
    values = arguments(5, index=False, n=16)
    expected = [value.detach() for value in couple(*values, clamp=CLAMP)]
    for mode in (torch.no_grad, torch.inference_mode):
        with reuse_memory(), mode():
            first = couple(*values, clamp=CLAMP)
            second = couple(*values, clamp=CLAMP)
            (rooms,) = couplings._SHELF.get().values()
        assert len(rooms) == 1 and rooms[0].hidden.shape[:2] == (1, 4)
        torch.testing.assert_close(list(first), expected, rtol=1e-12, atol=1e-12)
        assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_a_single_patch_keeps_its_latent_when_memory_is_used_again():
    x, table, rows, blocks = arguments(5, index=True, n=1)
    with reuse_memory(), torch.no_grad():
        first, _ = couple(x, table, rows, blocks, clamp=CLAMP)
        before = first.clone()
        couple(x + 1, table, rows, blocks, clamp=CLAMP)
    assert torch.equal(first, before)


def test_memory_of_inference_mode_is_not_lent_to_training():
    values = arguments(5, index=False)
    with reuse_memory():
        with torch.inference_mode():
            couple(*values, clamp=CLAMP)
        couple(
            values[0].detach(),
            *values[1:3],
            [Block(*(w.detach() for w in b)) for b in values[3]],
            clamp=CLAMP,
        )


def test_reused_memory_changes_no_bit_and_mixes_up_no_two_passes():
    first = arguments(6, index=True)
    second = arguments(6, index=True, n=8)
    second[0].data.add_(1.0)

    def gradients(values):
        return [couple(*values, clamp=CLAMP)[0].square().sum() for values in values]

    inputs = [learnt(values[0], values[-1]) for values in (first, second)]
    expected = [
        torch.autograd.grad(loss, own)
        for loss, own in zip(gradients([first, second]), inputs)
    ]
    with reuse_memory():
        for _ in range(3):
            losses = gradients([first, second])
            for loss, own, right in zip(losses, inputs, expected):
                assert all(
                    torch.equal(a, b)
                    for a, b in zip(torch.autograd.grad(loss, own), right)
                )


def test_a_gradient_asked_for_twice_is_right_or_refused():
    values = arguments(6, index=True)
    inputs = learnt(values[0], values[-1])
    with reuse_memory():
        loss = couple(*values, clamp=CLAMP)[0].square().sum()
        first = torch.autograd.grad(loss, inputs, retain_graph=True)
        again = torch.autograd.grad(loss, inputs, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(first, again))
        couple(*values, clamp=CLAMP)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, inputs)
