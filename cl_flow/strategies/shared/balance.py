"""Shares of old and new classes in a batch."""

__all__ = ["balanced_share"]


from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel


def balanced_share(model: FlowModel, task: Task, ratio: float | None) -> float:
    """Share of a batch to rehearse.

    Asked once the task's centers are there.

    Args:
        model: With centers for the task.
        task: The task to learn.
        ratio: Rehearsed images for each of the task's; None gives every class, old or
            new, an equal part, as training on all images would; one that comes again
            has both parts.
    """
    n_old = model.n_classes - len(task.categories)
    ratio = n_old / len(task.features.categories) if ratio is None else ratio
    return ratio / (1 + ratio)
