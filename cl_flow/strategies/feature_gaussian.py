"""Feature Gaussians: draws of each earlier class's law are replayed.

It is kept of the class's backbone features.
"""

__all__ = ["FeatureGaussian"]

import torch

from cl_flow.align.law_fits import LawOptions, feature_laws
from cl_flow.align.laws import ClassLaws
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.training.batches import Rehearsal


@STRATEGIES("feature_gaussian")
class FeatureGaussian(Strategy):
    """Replay without exemplars.

    The backbone is frozen, so a class's features and their law never drift.

    The draws enter HGAD's full loss as the kept patches of `replay`. With the position
    `"pooled"` a draw is put at any cell; with another, at the cell that it was drawn
    for.

    Args:
        components: Gaussians per class and level.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = (
        {"components": 1},
        {"components": 16},
        {"components": 8, "position": "full", "pool": 16_384, "ratio": None},
    )

    def __init__(
        self,
        *,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__()
        self.options = LawOptions(components, position, places)
        self.pool = pool
        self.ratio = ratio

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        kept = self._kept(model)
        if kept is None:
            return None
        bag = kept.pool(self.pool, generator=_generator(model, task))
        return Rehearsal(balanced_share(model, task, self.ratio), bag)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        new = feature_laws(
            task.features,
            task.categories,
            self.options,
            device=model.levels[0].codes.device,
            generator=_generator(model, task),
        )
        kept = self._kept(model)
        self.memory = (kept.followed_by(new) if kept else new).tensors()

    def _kept(self, model: FlowModel) -> ClassLaws | None:
        return ClassLaws.stored(self.memory, model.levels[0].codes.device)


def _generator(model: FlowModel, task: Task) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * model.seed + task.index)
