"""Freezing: the first coupling blocks stop learning after the first task."""

__all__ = ["Freeze"]

from collections.abc import Mapping

from cl_flow.data.features import Features
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("freeze")
class Freeze(Strategy):
    """Freeze the blocks near the features.

    Those near the centers learn on.

    References:
        Spurious Forgetting in Continual Learning of Language Models (Zheng et al.,
        2025)
        https://arxiv.org/abs/2501.13453

    Args:
        share: Of the blocks of each level, from the features up; 1 freezes the whole
            flow, and only centers learn.
    """

    GRID = ({"share": 1 / 3}, {"share": 2 / 3}, {"share": 1.0})

    def __init__(self, *, share: float = 1.0) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise ValueError(
                f"Expected a share of the blocks between 0 and 1; got {share}."
            )
        self.share = share

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        if task.index:
            for level in model.levels:
                for block in range(round(self.share * model.config.n_blocks)):
                    level.flow[block].requires_grad_(False)
        return task.features
