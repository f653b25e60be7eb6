"""The blocks as a GPU computes them are the blocks; on a CPU, Triton's interpreter says
so of small ones.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from cl_flow.model.flow import FlowConfig, FlowModel, Level
from cl_flow.model.kernels import plain_formulas
from cl_flow.model.kernels.couplings import couple
from cl_flow.model.kernels.gpu_couplings import couple_on_gpu, suits
from tests.devices import GPU

# Channels, patches, and whether they are drawn from their 3×3 grids.
SHAPES = [(7, 5, True), (6, 18, False), (37, 300, True), (6, 9 * 70, False)]


def drawn(dim: int, device: str = "cpu") -> Level:
    config = FlowConfig(n_blocks=3, n_components=2, position_dim=8, hidden=21)
    level = FlowModel([dim], [(3, 3)], config).levels[0]
    for parameter in level.flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return level.to(device)


def patches(dim: int, n: int, draws: bool, device: str = "cpu"):
    x = torch.randn(n, dim).to(device).requires_grad_()
    return x, torch.randint(9, (n,)).to(device) if draws else None


def results(level: Level, pair, inputs) -> list[torch.Tensor]:
    """Latents, log-determinants, and gradients of a loss that sees all of them."""
    z, log_det = pair
    weights = torch.linspace(-1, 1, z.shape[1]).to(z)
    loss = (z * weights).sum() + z.square().sum()
    loss = loss + (log_det * torch.linspace(0, 1, len(z)).to(z)).sum()
    return [z, log_det, *torch.autograd.grad(loss, inputs)]


def assert_alike(got, expected):
    for one, other in zip(got, expected, strict=True):
        scale = float(other.detach().abs().max()) + 1e-6
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * scale)


def check_interpreted() -> None:
    """Run in a process of its own, where Triton interprets."""
    for dim, n, draws in SHAPES:
        level = drawn(dim)
        x, index = patches(dim, n, draws)
        blocks = [block.block for block in level.flow]
        inputs = [x, *level.flow.parameters()]
        arguments = (x, level.codes, index, blocks)
        quick = couple_on_gpu(*arguments, clamp=1.9)
        assert_alike(
            results(level, quick, inputs),
            results(level, couple(*arguments, clamp=1.9), inputs),
        )
        with torch.no_grad():
            again = couple_on_gpu(*arguments, clamp=1.9)
        assert torch.equal(again[0], quick[0]) and torch.equal(again[1], quick[1])
        x.data[0, 0] = torch.nan
        assert couple_on_gpu(*arguments, clamp=1.9)[0][0].isnan().any()


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_are_the_blocks_to_triton_s_interpreter():
    code = (
        "from tests.cl_flow.model.kernels.test_gpu_couplings import check_interpreted\n"
        "check_interpreted()"
    )
    path = os.pathsep.join([os.getcwd(), *sys.path])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr[-2000:]


def test_a_cpu_and_other_precisions_take_the_other_way():
    assert not suits(torch.zeros(2, 3))


@pytest.mark.parametrize(("dim", "n", "draws"), [*SHAPES, (200, 2304, False)])
@pytest.mark.parametrize("device", [GPU])
def test_on_a_gpu_they_are_the_plain_formula(dim, n, draws, device):
    level = drawn(dim, device)
    x, index = patches(dim, n, draws, device)
    assert suits(x) and not suits(x.double())
    inputs = [x, *level.flow.parameters()]
    quick = results(level, level(x, index), inputs)
    with plain_formulas():
        assert_alike(quick, results(level, level(x, index), inputs))


@pytest.mark.parametrize("device", [GPU])
def test_frozen_blocks_get_no_gradient_and_the_others_theirs(device):
    level = drawn(8, device)
    x, index = patches(8, 18, False, device)
    level.flow[0].requires_grad_(False)
    learning = [p for p in level.flow.parameters() if p.requires_grad]
    quick = results(level, level(x.detach(), index), learning)
    with plain_formulas():
        assert_alike(quick, results(level, level(x.detach(), index), learning))


@pytest.mark.parametrize("device", [GPU])
def test_a_gradient_asked_for_twice_is_the_same(device):
    level = drawn(8, device)
    x, index = patches(8, 18, True, device)
    loss = level(x, index)[0].square().sum()
    first, again = (
        torch.autograd.grad(loss, [x, *level.flow.parameters()], retain_graph=True)
        for _ in range(2)
    )
    assert all(map(torch.equal, first, again))
