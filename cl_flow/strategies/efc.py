"""Elastic feature consolidation: old patches may move where no score notices.

That is in the metric of the mixture, and in the likelihood.
"""

__all__ = ["EFC", "posterior_metric"]

import torch
from torch import Tensor

from cl_flow.align.law_fits import LawOptions
from cl_flow.data.patches import Batch, PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.model.mixture import Mixture
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.law_draws import PLACED, LawDraws
from cl_flow.strategies.shared.old_model import frozen
from cl_flow.training.batches import Rehearsal

# Of the posteriors that the metric is taken from: those of centers 5 apart are certain,
# and would notice nothing. That of `lwf`.
TEMPERATURE = 2.0
# Draws of each class and level that the metric is a mean over.
DRAWS = 1024


@STRATEGIES("efc")
class EFC(Strategy):
    r"""Hold old classes in what changes their score.

    $\alpha\,[\Delta z^\top (E + \eta I)\,\Delta z + \kappa\,(\Delta\log p / D)^2]$ on
    samples of the classes' laws of features, means over patches, summed over levels.

    Δz is how far the flow has carried a patch since the task began, E the metric of the
    class posterior then (`posterior_metric`), and Δ log p what its log p(x|y) has
    changed by, centers included. HGAD scores by the entropy of that posterior and by
    that likelihood: what changes neither is free, but for η. In elastic feature
    consolidation α is 10 and αη .1; its metric is that of a linear classifier, this one
    that of the mixture, in closed form. Its prototypes have to follow the drift; laws
    of features do not.

    References:
        Elastic Feature Consolidation for Cold Start Exemplar-Free Incremental Learning
        (Magistri et al., 2024)
        https://arxiv.org/abs/2402.03917

    Args:
        strength: α.
        damping: η.
        likelihood: κ.
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

    capturable = True
    GRID = (
        {"strength": 10.0},
        {"strength": 100.0},
        PLACED,
        {"taught": True, **PLACED},
    )

    def __init__(
        self,
        *,
        strength: float = 10.0,
        damping: float = 0.01,
        likelihood: float = 10.0,
        taught: bool = False,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.strength = strength
        self.damping = damping
        self.likelihood = likelihood
        self.taught = taught
        self.ratio = ratio
        self._draws = LawDraws(LawOptions(components, position, places), pool)
        self._old: FlowModel | None = None
        self._metrics: list[Tensor] = []

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        bag = self._draws.begin(model, task, self.memory)
        if bag is None:
            return None
        self._old = frozen(model)
        self._metrics = _metrics(self._old, bag)
        share = balanced_share(model, task, self.ratio)
        return Rehearsal(share, bag, taught=self.taught)

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._old is None:
            return total
        drawn = batch.rehearsal()
        for i, (new, old) in enumerate(zip(model.levels, self._old.levels)):
            z, log_det = (batch.rehearsed(values) for values in latents[i])
            z_old, log_det_old = old(drawn.x[i], drawn.index[i])
            log_p = new.mixture.log_prob(z, drawn.y) + log_det
            log_p_old = old.mixture.log_prob(z_old, drawn.y) + log_det_old
            move = z - z_old
            noticed = ((move @ self._metrics[i]) * move).sum(1)
            held = self.damping * move.square().sum(1)
            change = self.likelihood * ((log_p - log_p_old) / new.dim).square()
            total = total + (noticed + held + change).mean()
        return self.strength * total

    def consolidate(self, model: FlowModel, task: Task) -> None:
        self._draws.end(model, task, self.memory)


@torch.no_grad()
def posterior_metric(
    mixture: Mixture, z: Tensor, *, temperature: float = 1.0
) -> Tensor:
    r"""How much the class posterior changes as latents move, by direction.

    $E = \mathrm E_z \mathrm{Cov}_p(\mu)$ with p = softmax(ℓ(z)/T): the mean over
    latents of how far the centers in question lie apart. At T = 1 it is the Fisher
    information of the class, so that ½ Δzᵀ E Δz is KL(p(z) ‖ p(z + Δz)) to second
    order. Where a move is at right angles to all differences of centers, EΔz is 0.

    Args:
        mixture: Of K classes, without frames.
        z: Latents (N, D).
        temperature: T.

    Returns:
        E (D, D), of rank K − 1 at most.
    """
    p = (mixture.log_kernel(z) / temperature).softmax(1)
    centers = mixture.mu - mixture.mu.mean(0)
    expected = p @ centers
    second = centers.T @ (p.mean(0)[:, None] * centers)
    return second - expected.T @ expected / len(z)


@torch.no_grad()
def _metrics(old: FlowModel, bag: PatchPool) -> list[Tensor]:
    """The metric of each level, among the classes that are drawn."""
    few = bag.first([DRAWS] * len(bag.x))
    classes = torch.arange(bag.n_classes, device=few.x[0].device)
    out = []
    for level, x, cells in zip(old.levels, few.x, few.cells):
        known = level.mixture.subset(classes)
        z, _ = level(x, cells)
        out.append(posterior_metric(known, z, temperature=TEMPERATURE))
    return out
