"""Feature Gaussians: samples of each earlier class's Gaussian are replayed.

It is kept of the class's backbone features.
"""

__all__ = ["FeatureGaussian"]

import torch

from cl_flow.align.laws import Gaussians, feature_gaussians
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.training.batches import Rehearsal


@STRATEGIES("feature_gaussian")
class FeatureGaussian(Strategy):
    """Replay without exemplars.

    The backbone is frozen, so a class's features and their moments never drift.

    Positions are pooled, cells drawn uniformly, and the samples enter HGAD's full loss
    as the kept patches of `replay`.

    Args:
        components: Gaussians per class and level.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = ({"components": 1}, {"components": 4}, {"components": 16})

    def __init__(
        self, *, components: int = 1, pool: int = 4096, ratio: float | None = 1.0
    ) -> None:
        super().__init__()
        self.components = components
        self.pool = pool
        self.ratio = ratio

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        if not self.memory:
            return None
        device = model.levels[0].codes.device
        generator = torch.Generator().manual_seed(1000 * model.seed + task.index)
        gaussians = Gaussians.stored(self.memory, self.components, device)
        bag = gaussians.bag(
            self.pool, [len(level.codes) for level in model.levels], generator=generator
        )
        return Rehearsal(balanced_share(model, task, self.ratio), bag)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        device = model.levels[0].codes.device
        generator = torch.Generator().manual_seed(1000 * model.seed + task.index)
        new = feature_gaussians(
            task.features,
            task.categories,
            n_components=self.components,
            device=device,
            generator=generator,
        )
        old = (
            Gaussians.stored(self.memory, self.components, device)
            if self.memory
            else None
        )
        self.memory = (old.followed_by(new) if old else new).tensors()
