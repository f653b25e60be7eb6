"""Functional regularisation: old patches shall go where they went.

Where the old flow sends patches of the earlier classes, the new one shall send them.
"""

__all__ = ["Functional"]

from torch import Tensor

from cl_flow.align.law_fits import LawOptions
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.inverted_samples import InvertedSamples
from cl_flow.training.batches import Rehearsal


@STRATEGIES("functional")
class Functional(Strategy):
    r"""Hold the flow's latents of old classes where they were (HCL-FR).

    $\frac\alpha D \|f(\hat x; c) - f_\mathrm{old}(\hat x; c)\|^2$ on the samples of
    `generative_replay`.

    Only this term sees the samples; HGAD's losses see the task's own images.

    References:
        Task Agnostic Continual Learning Using Normalizing Flows (Kirichenko et al.,
        2021)
        https://arxiv.org/abs/2106.12772

    Args:
        strength: α.
        law: Where latents are drawn: `"empirical"` or `"mixture"` (see
            `InvertedSamples`).
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    capturable = True
    GRID = ({"strength": 1.0}, {"strength": 10.0}, {"strength": 100.0})

    def __init__(
        self,
        *,
        strength: float = 10.0,
        law: str = "empirical",
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.strength = strength
        self.ratio = ratio
        self._dreams = InvertedSamples(law=law, options=LawOptions(), pool=pool)

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        if not self._dreams.begin(model, task, self.memory):
            return None
        return Rehearsal(
            balanced_share(model, task, self.ratio), self._dreams.bag, taught=False
        )

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._dreams.old is None:
            return total
        dreamt = batch.rehearsal()
        for old, x, index, (z, _) in zip(
            self._dreams.old.levels, dreamt.x, dreamt.index, latents
        ):
            z_old, _ = old(x, index)
            total = total + (batch.rehearsed(z) - z_old).square().mean()
        return self.strength * total

    def consolidate(self, model: FlowModel, task: Task) -> None:
        self._dreams.end(model, task, self.memory)
