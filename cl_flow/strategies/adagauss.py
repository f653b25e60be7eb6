"""Anti-collapse: each old class keeps the shape that the mixture gives it."""

__all__ = ["AdaGauss"]

from torch import Tensor

from cl_flow.align.law_fits import LawOptions
from cl_flow.align.statistics.gaussian import LOG_2PI
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.law_draws import PLACED, LawDraws
from cl_flow.strategies.shared.running_moments import RunningMoments
from cl_flow.training.batches import Rehearsal


@STRATEGIES("adagauss")
class AdaGauss(Strategy):
    r"""Hold each old class at its center, and as wide as the mixture has it.

    $\frac\alpha D \mathrm{KL}(\mathcal N(m_k, S_k) \| \mathcal N(\mu_k, I)) =
    \frac\alpha{2D} [\mathrm{tr}\,S_k + \|m_k - \mu_k\|^2 - D - \ln|S_k|]$ on samples of
    the classes' laws of features.

    The moments (m, S) of an old class are those of its latents now, detached and
    running over batches. The divergence is taken as the mean of
    $\log \mathcal N(z; m_k, S_k) - \log \mathcal N(z; \mu_k, I)$, of the same value
    and gradient. AdaGauss keeps features from collapsing into few directions, by a
    bound on the Cholesky factor of a batch's covariance. An invertible flow loses no
    direction, but it can shrink a class, stretch it or carry it away from its center,
    which costs here and is free under `gauge_free`.

    References:
        Task-recency bias strikes back: Adapting covariances in Exemplar-Free Class
        Incremental Learning (Rypeść et al., 2024)
        https://arxiv.org/abs/2409.18265

    Args:
        strength: α.
        momentum: Share of the running moments that stays from one batch to the next.
        taught: Whether HGAD's losses are taken over the draws as well.
        components: Gaussians per class and level of the features' law.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = ({"strength": 1.0}, {"strength": 10.0}, {"taught": True, **PLACED})

    def __init__(
        self,
        *,
        strength: float = 1.0,
        momentum: float = 0.9,
        taught: bool = False,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.strength = strength
        self.momentum = momentum
        self.taught = taught
        self.ratio = ratio
        self._draws = LawDraws(LawOptions(components, position, places), pool)
        self._moments: RunningMoments | None = None

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        bag = self._draws.begin(model, task, self.memory)
        if bag is None:
            return None
        self._moments = RunningMoments(model, bag, self.momentum)
        share = balanced_share(model, task, self.ratio)
        return Rehearsal(share, bag, taught=self.taught)

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._moments is None:
            return total
        y = batch.rehearsed(batch.y)
        for i, level in enumerate(model.levels):
            z = batch.rehearsed(latents[i][0])
            own = y.repeat_interleave(len(z) // len(y))
            constant = 0.5 * level.dim * LOG_2PI
            off = z - level.mixture.mu[own]
            unit = -0.5 * off.square().sum(1) - constant
            gap = self._moments.log_prob(i, z, own) - unit
            total = total + gap.mean() / level.dim
        return self.strength * total

    def consolidate(self, model: FlowModel, task: Task) -> None:
        self._draws.end(model, task, self.memory)
