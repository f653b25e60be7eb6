"""Mini-batch FIGMN against the papers' loop over points, on 4096 points in 200
dimensions.
"""

from collections.abc import Callable

import torch

from cl_flow.align import POLICIES, learn_mixture
from tests.benchmarks.conftest import on_a_cpu

N, DIM = 4096, 200


def figmn(batch: int) -> Callable[[], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mixing = (
        torch.eye(DIM, dtype=torch.float64)
        + 0.02 * torch.randn(DIM, DIM, generator=generator).double()
    )
    x = torch.randn(N, DIM, generator=generator, dtype=torch.float64) @ mixing
    policy = POLICIES["figmn"](
        spread=1.5, prior=DIM, min_age=float("inf"), max_components=1
    )
    return lambda: learn_mixture(x, policy, batch=batch).log_prob(x[:64])


@on_a_cpu
def test_figmn_in_batches_against_point_by_point(by_turns):
    batches, points = figmn(256), figmn(1)
    torch.testing.assert_close(batches(), points(), rtol=1e-8, atol=1e-6)
    by_turns(batches, points, rounds=3)
