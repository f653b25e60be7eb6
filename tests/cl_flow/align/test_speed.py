"""Mini-batch FIGMN against the papers' loop over points, on 4096 points in 200 dimensions: `make bench` times both."""

from collections.abc import Callable

import pytest
import torch

from cl_flow.align import POLICIES, learn

N, DIM = 4096, 200


def stream() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(DIM, dtype=torch.float64) + 0.02 * torch.randn(DIM, DIM, generator=generator).double()
    return torch.randn(N, DIM, generator=generator, dtype=torch.float64) @ mixing


def figmn(batch: int) -> Callable[[], torch.Tensor]:
    x = stream()
    policy = POLICIES["figmn"](spread=1.5, prior=DIM, min_age=float("inf"), max_components=1)
    return lambda: learn(x, policy, batch=batch).log_prob(x[:64])


@pytest.mark.benchmark(group="figmn 4096x200")
@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 16, 256])
def test_figmn(benchmark, batch):
    benchmark.pedantic(figmn(batch), rounds=1 if batch == 1 else 3, warmup_rounds=0)


def test_batches_of_any_size_learn_the_same_component():
    torch.testing.assert_close(figmn(256)(), figmn(64)(), rtol=1e-8, atol=1e-6)
