"""Joint training: all categories at once, the upper bound."""

__all__ = ["Joint"]

from cl_flow.data.features import union
from cl_flow.data.streams import Task
from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("joint")
class Joint(Strategy):
    """One task that holds every category, as published."""

    any_model = True
    needs_boundaries = False
    open_ended = False

    def arrange(self, stream: list[Task]) -> list[Task]:
        categories = tuple(name for task in stream for name in task.categories)
        return [Task(0, categories, union([task.features for task in stream]))]
