"""Seeds of what strategies draw."""

__all__ = ["task_generator", "task_seed"]

import torch

from cl_flow.data.streams import Task
from cl_flow.model.base import Model


def task_seed(model: Model, task: Task) -> int:
    """Seed of what is drawn at a task: a resumed run draws what a whole one would.

    Example:
        >>> task_seed(run[0].model(), run.stream()[1])
        1
    """
    return 1000 * model.seed + task.index


def task_generator(model: Model, task: Task) -> torch.Generator:
    """New generator on the CPU, seeded by `task_seed`."""
    return torch.Generator().manual_seed(task_seed(model, task))
