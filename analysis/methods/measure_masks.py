"""Sub-networks measured: what later tasks do to the weights of earlier ones."""

__all__ = ["measure_subnetworks"]

from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.methods.costs import method_name
from cl_flow.model.class_views import used_weights, views
from cl_flow.model.flow import FlowModel
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES
from cl_flow.strategies.packnet import small_parameters, weights


class _Network(NamedTuple):
    """What one task's classes are scored with, each part in one row."""

    weights: Tensor
    biases: Tensor
    centers: Tensor


@table
@torch.no_grad()
def measure_subnetworks(run: Run) -> pd.DataFrame:
    r"""Compare what a task is scored with after later tasks with what it learned.

    With W_t the flow's weight matrices after task t and m_i the mask of those that task
    i uses: `density` $|m_i|/n$; `overlap` $|m_i \cap m_t|/|m_i|$ and `touched`, the
    same with what any task from i+1 to t uses; `displacement` $\|(W_t - W_i) \odot
    m_i\| / \|W_i \odot m_i\|$; `off_mask`, what task t alone moved there without using
    it, in the same unit; `biases` and `centers`, the displacement of the task's biases
    and global scales, and of its centers.

    How to read it: overlap without displacement is what a method holds that shares what
    it does not change; displacement is knowledge that others trained away; anything but
    0 off the mask is the optimizer's decay or momentum. Where weights and biases stand
    still, what is forgotten is the centers', or that of a score which compares them.

    Args:
        run: One run, or many, that learn task after task. A flow without masks uses
            every weight.

    Returns:
        One row per `method step task quantity` with its `value`, for every task learned
        by that step.

    Raises:
        ValueError: A run whose models do not keep the earlier classes.

    Example:
        >>> measured = measure_subnetworks(run)
        >>> set(measured.query("quantity == 'density'")["value"])
        {1.0}
    """
    if not STRATEGIES[run.strategy].keeps_classes:
        raise ValueError(
            "Expected a run whose models keep the classes of earlier tasks; got "
            f"{run.name}, of strategy {run.strategy!r}."
        )
    models = [snapshot.model() for snapshot in run]
    rows = []
    for task, model in enumerate(models):
        learned, used = _network(model, task), _mask(model, task)
        touched = torch.zeros_like(used)
        for step in range(task, len(models)):
            values = {"density": used.double().mean().item()}
            values |= _displacements(learned, _network(models[step], task))
            if step > task:
                theirs = _mask(models[step], step)
                touched |= theirs
                moved = _matrices(models[step]) - _matrices(models[step - 1])
                values["overlap"] = _share(theirs, used)
                values["touched"] = _share(touched, used)
                left = (moved * (used & ~theirs)).norm()
                values["off_mask"] = (left / learned.weights.norm()).item()
            rows += [(step, task, name, value) for name, value in values.items()]
    frame = pd.DataFrame(rows, columns=["step", "task", "quantity", "value"])
    return frame.assign(method=method_name(run))


def _network(model: FlowModel, task: int) -> _Network:
    """The view of a task, or the one flow of all."""
    parts = views(model)
    view, _ = parts[task if len(parts) > 1 else 0]
    blocks = [level.mixture.blocks()[task] for level in model.levels]
    return _Network(
        _matrices(view),
        torch.cat([value.flatten() for _, value in small_parameters(view)]),
        torch.cat([block["mu"].flatten() for block in blocks]),
    )


def _matrices(model: FlowModel) -> Tensor:
    return torch.cat([getattr(one, key).flatten() for _, one, key in weights(model)])


def _mask(model: FlowModel, task: int) -> Tensor:
    """Which elements of `_matrices` a task uses."""
    used = used_weights(model, task)
    masks = [
        used.get(name, torch.ones_like(getattr(module, key), dtype=torch.bool))
        for name, module, key in weights(model)
    ]
    return torch.cat([mask.flatten() for mask in masks])


def _displacements(then: _Network, now: _Network) -> dict[str, float]:
    moved = [(b - a).norm() / a.norm() for a, b in zip(then, now)]
    names = ("displacement", "biases", "centers")
    return {name: value.item() for name, value in zip(names, moved)}


def _share(theirs: Tensor, used: Tensor) -> float:
    return ((theirs & used).sum() / used.sum()).item()
