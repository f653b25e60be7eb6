"""Generative replay: the old flow makes up patches of earlier classes.

They are learned with the new ones.
"""

__all__ = ["GenerativeReplay"]

from cl_flow.align.law_fits import LawOptions
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.inverted_samples import InvertedSamples
from cl_flow.training.batches import Rehearsal


@STRATEGIES("generative_replay")
class GenerativeReplay(Strategy):
    """Samples x̂ = f_old⁻¹(ẑ; c) under HGAD's full loss (HCL-GR).

    It is always the flow of the last task that generates.

    The memory also holds, per level, the mean of max|f_old(x̂) − ẑ| (`inversion_error`)
    and the share of samples that were finite (`finite_share`); the others are left out.

    References:
        Task Agnostic Continual Learning Using Normalizing Flows (Kirichenko et al.,
        2021)
        https://arxiv.org/abs/2106.12772
        Pseudo-Rehearsal for Continual Learning with Normalizing Flows (Pomponi et al.,
        2020)
        https://arxiv.org/abs/2007.02443

    Args:
        law: Where latents are drawn: `"empirical"` or `"mixture"` (see
            `InvertedSamples`).
        components: Gaussians per class and level of the empirical law.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = (
        {"law": "empirical"},
        {"law": "mixture"},
        {"law": "empirical", "components": 8, "position": "full"},
        {"law": "empirical", "ratio": None},
    )

    def __init__(
        self,
        *,
        law: str = "empirical",
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        options = LawOptions(components, position, places)
        self._dreams = InvertedSamples(law=law, options=options, pool=pool)

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        if not self._dreams.begin(model, task, self.memory):
            return None
        return Rehearsal(balanced_share(model, task, self.ratio), self._dreams.bag)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        self._dreams.end(model, task, self.memory)
