"""The coupling against FrEIA's block and autograd, and what the model promises.

These are its seeds, names and optimizer groups.
"""

import FrEIA.framework
import FrEIA.modules
import pytest
import torch
from torch import nn

from cl_flow.model.coupling import Coupling
from cl_flow.model.flow import FlowConfig, FlowModel, Level, trainable
from cl_flow.model.kernels import FusedAdam, plain_formulas
from cl_flow.model.losses import hgad_losses, hgad_total
from cl_flow.model.positions import Positions, encode_positions

SMALL = FlowConfig(n_blocks=3, n_components=3, position_dim=8, hidden=20)


def subnet(dims_in: int, dims_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dims_in, 2 * dims_in), nn.ReLU(), nn.Linear(2 * dims_in, dims_out)
    )


def stirred(module: nn.Module) -> nn.Module:
    """Parameters well away from their initial values, where a missing term would show."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        noise = torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        ).to(parameter.dtype)
        parameter.data += 0.3 * noise
    return module


class Vendored(FrEIA.modules.AllInOneBlock):
    """FrEIA's block as its later copies have it: the log-scale is α·tanh(a/α)."""

    def _affine(self, x, a, rev=False):
        half = x.shape[1]
        a = torch.cat([a[:, :half] / self.clamp, a[:, half:]], dim=1)
        return super()._affine(x, a, rev)


BLOCKS = {False: FrEIA.modules.AllInOneBlock, True: Vendored}


@pytest.fixture(params=BLOCKS, ids=["published", "vendored"])
def pair(request) -> tuple[FrEIA.modules.AllInOneBlock, Coupling]:
    """FrEIA's block and ours, with the same weights (13 channels: an odd split)."""
    theirs = BLOCKS[request.param](
        [(13,)],
        [(8,)],
        subnet_constructor=subnet,
        affine_clamping=1.9,
        global_affine_type="SOFTPLUS",
        permute_soft=True,
    )
    stirred(theirs.requires_grad_(True))
    theirs.w_perm.data = torch.linalg.qr(theirs.w_perm.data)[0]
    theirs.w_perm_inv.data = theirs.w_perm.data.T.contiguous()
    ours = Coupling([(13,)], [(8,)], hidden=None, clamp=1.9, seed=0)
    return theirs, ours.load_all_in_one_(theirs.state_dict(), divided=request.param)


def test_coupling_is_freias_block(pair):
    theirs, ours = pair
    x = torch.randn(24, 13)
    table = torch.randn(6, 8)
    codes = table.repeat(4, 1)
    for rev in (False, True):
        (expected,), expected_jac = theirs([x], c=[codes], rev=rev)
        (z,), jac = ours([x], c=[Positions(table)], rev=rev)
        torch.testing.assert_close(z, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(jac, expected_jac, rtol=1e-5, atol=1e-5)


def test_drawn_patches_are_rows_of_the_whole_grid(pair):
    _, ours = pair
    x = torch.randn(12, 13)
    table = torch.randn(6, 8)
    (whole,), whole_jac = ours([x], c=[Positions(table)])
    rows = torch.tensor([7, 2, 11])
    (drawn,), jac = ours([x[rows]], c=[Positions(table, rows % 6)])
    torch.testing.assert_close(drawn, whole[rows])
    torch.testing.assert_close(jac, whole_jac[rows])


@pytest.mark.parametrize("n_classes", [1, 2, 6])
def test_a_flow_told_the_class_treats_each_image_as_its_own(n_classes):
    generator = torch.Generator().manual_seed(0)
    level = stirred(Level(6, (2, 3), SMALL, seed=0))
    level.class_codes = torch.randn(n_classes, SMALL.position_dim, generator=generator)
    y = torch.tensor([0, 5, 1, 5]) % n_classes
    x = torch.randn(4 * 6, 6, generator=generator)
    cells = torch.randint(6, (4, 3), generator=generator)
    whole = level(x, y=y)
    drawn = level(
        x.view(4, 6, 6)[torch.arange(4)[:, None], cells].flatten(0, 1),
        cells.flatten(),
        y,
    )
    for i, k in enumerate(y):
        alone = level(x.view(4, 6, 6)[i], y=k[None])
        for a, b, c in zip(alone, whole, drawn):
            torch.testing.assert_close(b[6 * i :][:6], a)
            torch.testing.assert_close(c[3 * i :][:3], a[cells[i]])
    if n_classes > 1:
        assert not torch.allclose(level(x[:6], y=y[:1])[0], level(x[:6], y=y[1:2])[0])


def test_a_level_in_one_go_is_its_blocks_one_by_one():
    level = stirred(Level(13, (3, 2), SMALL, seed=0))
    x = torch.randn(12, 13)
    for index in (None, torch.randint(6, (12,))):
        whole = level(x, index)
        one_by_one = level.flow(x, c=[Positions(level.codes, index)])
        with plain_formulas():
            plain = level(x, index)
        for a, b, c in zip(whole, one_by_one, plain):
            torch.testing.assert_close(a, b)
            assert torch.equal(b, c)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("drawn", [False, True])
def test_the_plain_level_can_be_differentiated_twice_and_transformed(drawn):
    config = FlowConfig(n_blocks=2, position_dim=4, hidden=6)
    level = stirred(Level(5, (2, 2), config, seed=0))
    index = torch.tensor([3, 0, 0, 1]) if drawn else None
    x = torch.randn(4, 5)
    leaf = x.clone().requires_grad_()
    with plain_formulas():
        assert torch.autograd.gradgradcheck(lambda x: level(x, index), (leaf,))
    z, _ = level(leaf, index)
    found = torch.func.jacrev(lambda x: level(x, index)[0])(x)
    rows = [
        torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in z.flatten()
    ]
    expected = torch.stack(rows)
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(
        RuntimeError, match=r"within `cl_flow.model.plain_formulas\(\)`"
    ):
        torch.autograd.grad(z.sum(), leaf, create_graph=True)


@pytest.mark.usefixtures("float64")
def test_a_training_step_by_kernels_is_one_by_the_plain_formulas():
    def moved() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(5)
        model = stirred(FlowModel([6, 9], [(4, 4), (2, 3)], SMALL).expand_(3))
        optimizer = FusedAdam(trainable(model, weight_decay=1e-2), betas=(0.9, 0.99))
        y = torch.tensor([0, 2])
        total = 0.0
        for level in model.levels:
            n_patches = 2 * len(level.codes)
            x = torch.randn(
                n_patches, level.dim, generator=generator, dtype=torch.float64
            )
            terms = hgad_losses(level.mixture, *level(x), y, intra=True)
            total = total + hgad_total(terms)
        total.backward()
        grads = [parameter.grad.clone() for parameter in model.parameters()]
        optimizer.step(1e-3)
        return [*grads, *(parameter.detach() for parameter in model.parameters())]

    by_kernels = moved()
    with plain_formulas():
        plainly = moved()
    for a, b in zip(by_kernels, plainly):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_a_block_of_another_kind_is_not_passed_over():
    class Doubled(Coupling):
        def forward(self, x_or_z, c, rev=False, jac=True):
            (z,), log_det = super().forward(x_or_z, c, rev, jac)
            return (2 * z,), log_det + 13 * torch.tensor(2.0).log()

    level = Level(13, (3, 2), SMALL, seed=0)
    x = torch.randn(12, 13)
    z, log_det = level(x)
    level.flow[2].__class__ = Doubled
    torch.testing.assert_close(level(x)[0], 2 * z)
    torch.testing.assert_close(level(x)[1], log_det + 13 * torch.tensor(2.0).log())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)]
)
@pytest.mark.parametrize("dim", [2, 13, 48])
def test_inverse_undoes_the_flow(dim, dtype, tolerance, request):
    if dtype is torch.float64:
        request.getfixturevalue("float64")
    level = stirred(Level(dim, (3, 2), SMALL, seed=0))
    x = torch.randn(18, dim)
    assert x.dtype is dtype
    z, log_det = level(x)
    back, log_det_back = level.inverse(z)
    torch.testing.assert_close(back, x, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(log_det_back, -log_det, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("float64")
def test_log_det_is_that_of_the_jacobian():
    level = stirred(Level(7, (2, 2), SMALL, seed=0))
    x = torch.randn(4, 7)
    _, log_det = level(x)
    jacobian = torch.autograd.functional.jacobian(lambda x: level(x)[0], x)
    expected = torch.stack(
        [torch.linalg.slogdet(jacobian[i, :, i]).logabsdet for i in range(4)]
    )
    torch.testing.assert_close(log_det, expected, rtol=1e-10, atol=1e-10)


def test_positions_are_distinct_and_checked():
    codes = encode_positions(16, 5, 7)
    assert codes.shape == (35, 16) and torch.nn.functional.pdist(codes).min() > 0.1
    with pytest.raises(ValueError, match="multiple of 4; got 18"):
        encode_positions(18, 5, 7)


def test_same_seed_same_model_other_seed_other_model():
    def state(seed: int) -> dict[str, torch.Tensor]:
        return (
            FlowModel([6, 8], [(4, 4), (2, 2)], SMALL, seed=seed)
            .expand_(["a", "b"])
            .state_dict()
        )

    first = state(1)
    again = state(1)
    other = state(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(
        first["levels.0.flow.module_list.0.rotation"],
        other["levels.0.flow.module_list.0.rotation"],
    )
    assert not torch.equal(
        first["levels.1.mixture._delta.0"], other["levels.1.mixture._delta.0"]
    )


def test_building_and_expanding_leave_the_global_generators_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    FlowModel([6], [(2, 2)], SMALL, seed=5).expand_(2)
    assert torch.equal(torch.rand(3), expected)


def test_the_state_holds_the_whole_model():
    model = FlowModel([6], [(2, 2)], SMALL).expand_(["a", "b"])
    state = model.state_dict()
    assert {id(p) for p in model.parameters()} == {
        id(p) for p in model.levels[0].parameters()
    }
    assert all(
        f"levels.0.{name}" in state for name, _ in model.levels[0].named_parameters()
    )
    assert sum("rotation" in key for key in state) == SMALL.n_blocks


def test_classes_have_names_in_order_of_arrival():
    model = (
        FlowModel([6], [(2, 2)], SMALL).expand_(["pill", "cable"]).expand_(["apple"])
    )
    assert model.class_ids(["apple", "pill"]).tolist() == [2, 0]
    with pytest.raises(
        KeyError, match="No center for zipper; known: pill, cable, apple"
    ):
        model.class_ids(["zipper"])
    with pytest.raises(ValueError, match="each once; got cable"):
        model.expand_(["cable"])
    assert model.fresh().n_classes == 0


def test_expansion_leaves_the_flow_and_the_likelihood_to_the_bit():
    model = stirred(FlowModel([6], [(2, 2)], SMALL).expand_(2))
    level = model.levels[0]
    x = torch.randn(8, 6)
    y = torch.tensor([0, 1])
    z, log_det = level(x)
    before = level.mixture.log_prob(z, y) + log_det
    model.expand_(3)
    z, log_det = level(x)
    assert torch.equal(level.mixture.log_prob(z, y) + log_det, before)


def test_what_is_frozen_is_in_no_optimizer_group():
    model = FlowModel([6], [(2, 2)], SMALL).expand_(2).expand_(2)
    model.levels[0].mixture.freeze_old_()
    model.levels[0].flow[0].requires_grad_(False)
    groups = trainable(model, weight_decay=1e-2)
    chosen = {id(parameter) for group in groups for parameter in group["params"]}
    assert chosen == {id(p) for p in model.parameters() if p.requires_grad}
    mixture = {id(p) for p in model.levels[0].mixture.parameters()}
    for group in groups:
        assert group["weight_decay"] == (
            0.0 if id(group["params"][0]) in mixture else 1e-2
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda level: level(torch.zeros(4, 5)), r"shape \(N, 6\); got \(4, 5\)"),
        (lambda level: level(torch.zeros(5, 6)), "whole 2×2 grids.*got 5 patches"),
        (lambda level: Level(1, (2, 2), SMALL, seed=0), "at least 2 channels"),
        (
            lambda level: FlowModel([6, 7], [(2, 2)]),
            "as many dims as grids.*got 2 and 1",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Level(6, (2, 2), SMALL, seed=0))
