"""Draws of earlier classes, from the laws of their features."""

__all__ = ["PLACED", "LawDraws"]

from collections.abc import Mapping

from torch import Tensor

from cl_flow.align.law_fits import LawOptions, feature_laws
from cl_flow.align.laws import ClassLaws
from cl_flow.data.patches import PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.shared.seeds import task_generator

# Laws that know places, and every class an equal part of a batch.
PLACED = {"components": 8, "position": "full", "pool": 16_384, "ratio": None}


class LawDraws:
    """Patches of old classes, drawn from what is kept of their features.

    The backbone is frozen, so a class's features and their law never drift.

    Args:
        options: What a law looks like.
        pool: Patches drawn of each class and level before a task.
    """

    def __init__(self, options: LawOptions, pool: int) -> None:
        self.options = options
        self.pool = pool

    def begin(
        self, model: FlowModel, task: Task, memory: Mapping[str, Tensor]
    ) -> PatchPool | None:
        """Draw the pool; None for the first task."""
        kept = ClassLaws.stored(memory, model.levels[0].codes.device)
        if kept is None:
            return None
        return kept.pool(self.pool, generator=task_generator(model, task))

    def end(self, model: FlowModel, task: Task, memory: dict[str, Tensor]) -> None:
        """Keep the laws of the task's classes beside the others."""
        device = model.levels[0].codes.device
        new = feature_laws(
            task.features,
            task.categories,
            self.options,
            device=device,
            generator=task_generator(model, task),
        )
        kept = ClassLaws.stored(memory, device)
        memory |= (kept.followed_by(new) if kept else new).tensors()
