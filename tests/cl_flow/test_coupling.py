"""The written-out gradient against finite differences and against autograd through the same formula."""

import pytest
import torch
import torch.nn.functional as F

from cl_flow.coupling import couple

pytestmark = pytest.mark.usefixtures("float64")


def arguments(dim: int, *, index: bool, cells: int = 4, hidden: int = 6, n: int = 8) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(dim)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    half = dim - dim // 2
    rotation = torch.linalg.qr(draw(dim, dim).detach()).Q
    scale = draw(dim).detach().exp().requires_grad_()
    rows = torch.randint(cells, (n,), generator=generator) if index else None
    outer, bias = draw(2 * (dim // 2), hidden), draw(2 * (dim // 2))
    return [draw(n, dim), draw(cells, hidden), rows, draw(hidden, half), outer, bias, scale, draw(dim), rotation]


def formula(x, codes, index, inner, outer, bias, scale, offset, rotation, clamp=1.9):
    half = inner.shape[1]
    rows = codes.repeat(len(x) // len(codes), 1) if index is None else codes[index]
    a, t = (0.1 * F.linear((F.linear(x[:, :half], inner) + rows).relu(), outer, bias)).chunk(2, dim=1)
    log_s = clamp * a.tanh()
    mixed = torch.cat([x[:, :half], x[:, half:] * log_s.exp() + t], dim=1)
    return (mixed * scale + offset) @ rotation.T, log_s.sum(1) + scale.log().sum()


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("dim", [2, 5, 8])
def test_value_and_gradient_are_those_of_the_formula(dim, index):
    values = arguments(dim, index=index)
    learnt = [value for value in values if value is not None and value.requires_grad]
    ours, theirs = couple(*values, clamp=1.9), formula(*values)
    weights = [torch.randn_like(value) for value in ours]
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad(out, learnt, weights) for out in (ours, theirs))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradient_is_that_of_finite_differences():
    values = arguments(5, index=True)
    rest = values[3:]
    assert torch.autograd.gradcheck(
        lambda x, codes, *rest: couple(x, codes, values[2], *rest, clamp=1.9), (*values[:2], *rest), atol=1e-5
    )


def test_inputs_keep_their_bits():
    values = arguments(6, index=False)
    before = [None if value is None else value.detach().clone() for value in values]
    z, log_det = couple(*values, clamp=1.9)
    (z.square().sum() + log_det.sum()).backward()
    assert all(b is None or torch.equal(a, b) for a, b in zip(values, before))
