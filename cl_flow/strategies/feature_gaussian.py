"""Feature Gaussians: draws of each earlier class's law are replayed.

It is kept of the class's backbone features.
"""

__all__ = ["FeatureGaussian"]

from cl_flow.align.law_fits import LawOptions
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.law_draws import PLACED, LawDraws
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

    GRID = ({"components": 1}, {"components": 16}, PLACED)

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
        self.ratio = ratio
        self._draws = LawDraws(LawOptions(components, position, places), pool)

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        bag = self._draws.begin(model, task, self.memory)
        if bag is None:
            return None
        return Rehearsal(balanced_share(model, task, self.ratio), bag)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        self._draws.end(model, task, self.memory)
