"""What every strategy may decide; the defaults are plain fine-tuning."""

__all__ = ["STRATEGIES", "Strategy"]

from collections.abc import Mapping

from torch import Tensor

from cl_flow.features import Features
from cl_flow.flow import FlowModel
from cl_flow.registry import Registry
from cl_flow.stream import Task
from cl_flow.train import Penalty

STRATEGIES: Registry = Registry("strategy")


class Strategy:
    """Hooks that the continual loop calls around the training of each task, in this order.

    A strategy that keeps something between tasks holds it in `memory`, tensors by name: the run saves it with each
    snapshot and gives it back when an interrupted run continues.
    """

    def __init__(self) -> None:
        self.memory: dict[str, Tensor] = {}

    def arrange(self, stream: list[Task]) -> list[Task]:
        """The tasks in the form they are learnt."""
        return stream

    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        """The model that learns the task: with centers for its categories."""
        return model.expand_(task.categories)

    def prepare(self, model: FlowModel, task: Task, past: Mapping[int, Task]) -> Features:
        """The images to train on. `past` holds the tasks already learnt: only upper bounds may look at them."""
        return task.features

    penalty: Penalty | None = None

    def consolidate(self, model: FlowModel, task: Task) -> None:
        """Keep what the next task will need; called after training."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
