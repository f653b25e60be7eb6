"""Gauge-free rehearsal: old classes may move by any affine map.

As long as each stays a Gaussian of its own.
"""

__all__ = ["GaugeFree"]

import torch
from torch import Tensor

from cl_flow.align import GaussianStats
from cl_flow.align.affine import frames_of
from cl_flow.align.law_fits import LawOptions, pool_moments
from cl_flow.align.laws import SHRINKAGE
from cl_flow.data.patches import Batch, PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.model.mixture import Mixture
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.law_draws import LawDraws
from cl_flow.strategies.shared.running_moments import RunningMoments
from cl_flow.training.batches import Rehearsal

SURE = 30.0  # logit of the only component that is left of a class with a frame


@STRATEGIES("gauge_free")
class GaugeFree(Strategy):
    r"""Hold old classes Gaussian, wherever they go.

    $-\frac\alpha D [\log \mathcal N(z; m_k, S_k) + \log\det]$ on samples of the
    classes' laws of features.

    The moments (m, S) of an old class are those of its latents now, detached and
    running over batches. At S its own covariance the term is stationary under every
    affine map of the latents: the flow pays for changing a class's shape, and not for
    moving, turning or stretching it. After the task each old class gets these moments
    as its density: a frame of the mixture with W = S^(−½) in which it is the unit
    Gaussian at its center.

    Args:
        strength: α.
        momentum: Share of the running moments that stays from one batch to the next.
        components: Gaussians per class and level of the features' law.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = ({"strength": 1.0}, {"strength": 10.0}, {"strength": 100.0})

    def __init__(
        self,
        *,
        strength: float = 10.0,
        momentum: float = 0.9,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.strength = strength
        self.momentum = momentum
        self.ratio = ratio
        self._draws = LawDraws(LawOptions(components, position, places), pool)
        self._bag: PatchPool | None = None
        self._moments: RunningMoments | None = None

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        self._bag = self._draws.begin(model, task, self.memory)
        if self._bag is None:
            return None
        self._moments = RunningMoments(model, self._bag, self.momentum)
        return Rehearsal(
            balanced_share(model, task, self.ratio), self._bag, taught=False
        )

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._moments is None:
            return total
        y = batch.rehearsed(batch.y)
        for i, level in enumerate(model.levels):
            z, log_det = (batch.rehearsed(values) for values in latents[i])
            own = y.repeat_interleave(len(z) // len(y))
            log_p = self._moments.log_prob(i, z, own) + log_det
            total = total - log_p.mean() / level.dim
        return self.strength * total

    def consolidate(self, model: FlowModel, task: Task) -> None:
        if self._bag is not None:
            moments = pool_moments(model, self._bag)
            for level, own in zip(model.levels, moments):
                level.mixture = _reframed(level.mixture, own)
        self._draws.end(model, task, self.memory)


@torch.no_grad()
def _reframed(mixture: Mixture, moments: GaussianStats) -> Mixture:
    """The mixture, its first classes one Gaussian each, of these moments."""
    k, dim = moments.mean.shape
    eye = torch.eye(dim).to(moments.mean)
    weight, bias = (values.clone() for values in frames_of(mixture))
    root = torch.linalg.cholesky(moments.covariance(shrinkage=SHRINKAGE))
    weight[:k] = torch.linalg.solve_triangular(root, eye.expand(k, -1, -1), upper=False)
    bias[:k] = mixture.mu[:k] - (weight[:k] @ moments.mean[..., None])[..., 0]
    framed = mixture.framed(weight, bias)
    begin = 0
    for block in framed.blocks():
        if begin < k:
            block["psi"].zero_()
            block["psi"][:, 0] = SURE
        begin += len(block["psi"])
    return framed
