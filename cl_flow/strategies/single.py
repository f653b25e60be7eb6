"""Single-task training: a fresh model for every task, which knows no other."""

__all__ = ["Single"]

from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("single")
class Single(Strategy):
    """Train a fresh model for every task.

    It shows what each task reaches alone.

    The reference for how well it was learned in sequence.
    """

    keeps_classes = False
    any_model = True

    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        return model.fresh().expand_(task.categories)
