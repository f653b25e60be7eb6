"""Base of all strategies.

The defaults are plain fine-tuning.
"""

__all__ = ["STRATEGIES", "Strategy"]

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.registry import Registry
from cl_flow.training.batches import Rehearsal
from cl_flow.training.step import Penalty, Rewire

STRATEGIES: Registry = Registry("strategy")


class Strategy:
    """Hooks around the training of each task.

    The continual loop calls them in this order.

    A strategy that keeps something between tasks holds it in `memory`, tensors by name:
    the run saves it with each snapshot and gives it back when an interrupted run
    continues. The flow as the last task left it need not be kept: until training begins
    it is the model's own.

    `GRID` holds the options that are compared with each other: the strengths of the
    method, fixed beforehand.

    Example:
        >>> class Quick(Strategy):
        ...     def prepare(self, model, task, past):
        ...         return task.features.take(range(4))
        >>> Quick().memory
        {}
    """

    GRID: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    sees_past: ClassVar[bool] = False  # only an upper bound may
    # Whether the model of a task has the classes of earlier ones, too.
    keeps_classes: ClassVar[bool] = True
    # Whether it asks nothing of a model that only a flow has.
    any_model: ClassVar[bool] = False
    # Whether what it learns of a task does not depend on how many follow.
    open_ended: ClassVar[bool] = True
    # Whether it anchors at a task's end, or keeps of a class what it saw at once.
    needs_boundaries: ClassVar[bool] = True
    # Whether a GPU may record `penalty` once and replay it: it neither waits for the
    # device, as `.item()` does, nor draws numbers, nor keeps state in Python, and
    # `watch` gives the model no other tensors. Who has neither hook need not say so.
    capturable: bool = False

    def __init__(self) -> None:
        self.memory: dict[str, Tensor] = {}

    def arrange(self, stream: list[Task]) -> list[Task]:
        """The tasks in the form they are learned."""
        return stream

    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        """The model that learns the task: with centers for its categories, if any."""
        return model.expand_(task.categories) if task.categories else model

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        """The images to train on.

        `past` holds the tasks already learned, for a strategy that `sees_past`.
        """
        return task.features

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        """The patches of earlier classes to mix into every batch, if any."""
        return None

    penalty: Penalty | None = None

    # Asked before every step, with the steps taken and those of the task, for what
    # takes Adam's place in it (`cl_flow.training.step.Rewiring`).
    rewire: Rewire | None = None

    def midway(self, model: FlowModel) -> None:
        """Called when half of the steps are taken."""

    def within(self, model: FlowModel) -> None:
        """Called before the first step that has the losses within a class."""

    def watch(self, step: int, model: FlowModel) -> None:
        """Look at the model after each step.

        Called with the number of steps taken, before the first too.
        """

    def consolidate(self, model: FlowModel, task: Task) -> None:
        """Keep what the next task will need; called after training."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
