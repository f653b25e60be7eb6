"""Moments of old classes' latents, running over batches."""

__all__ = ["RunningMoments"]

import torch.nn.functional as F
from torch import Tensor

from cl_flow.align.law_fits import pool_moments
from cl_flow.align.laws import SHRINKAGE
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel

LAG = 4.0  # patches per dimension that the moments begin with the weight of


class RunningMoments:
    """Mean and covariance of each old class's latents as they are now, detached.

    Args:
        model: As the task begins.
        pool: Patches of the old classes.
        momentum: Share of the moments that stays from one batch to the next.
    """

    def __init__(self, model: FlowModel, pool: PatchPool, momentum: float) -> None:
        self.momentum = momentum
        self.levels = [
            stats.decay(LAG * stats.mean.shape[1] / stats.n)
            for stats in pool_moments(model, pool)
        ]

    def log_prob(self, i: int, z: Tensor, y: Tensor) -> Tensor:
        """log N(z; m_y, S_y) (N,), the moments having seen these latents too.

        Args:
            i: Level.
            z: Latents (N, D).
            y: Class of each (N,).
        """
        past = self.levels[i]
        member = F.one_hot(y, len(past)).to(z)
        now = GaussianStats.of(z.detach(), member)
        self.levels[i] = past.decay(self.momentum).merge(now)
        each = self.levels[i].log_prob(z, shrinkage=SHRINKAGE)
        return each.gather(1, y[:, None])[:, 0]
