"""Cumulative training: each task is learned with all earlier images.

An upper bound for replay.
"""

__all__ = ["Cumulative"]

from collections.abc import Mapping

from cl_flow.data.features import Features, union
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("cumulative")
class Cumulative(Strategy):
    """Classes arrive as in fine-tuning, but no image is ever given away."""

    sees_past = True
    any_model = True
    needs_boundaries = False

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        return union([*(earlier.features for earlier in past.values()), task.features])
