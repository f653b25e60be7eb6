"""Classes measured against each other: what learning one costs the others."""

__all__ = [
    "flow_losses",
    "interference",
    "measure_interference",
    "reconstruction_losses",
]

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from analysis.experiments import of_any_model, of_any_stream, table
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.model.losses import LossConfig, hgad_losses, hgad_total
from cl_flow.model.reconstruction import UniAD
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import refuse_several_flows


@table
@of_any_model
@of_any_stream
@one_thread
def measure_interference(
    run: Run, *, after: int = -1, n_images: int = 16, distance: float = 1e-4
) -> pd.DataFrame:
    """Measure how far the classes of one model pull at the same weights.

    How to read it: ask `interference`. The loss is the one that the model is trained
    on, over training images, without noise; the weights are those of a flow's blocks,
    or all of another model.

    Args:
        run: One run, or many, with one flow for all classes, or another model.
        after: The step whose model is asked: index of the last task learned, or counted
            from the end.
        n_images: Training images per category, the first ones.
        distance: Length of the step, as a share of the length of all shared weights.

    Returns:
        One row per `step task category other_task other` with its `cosine` and `cost`.

    Raises:
        ValueError: A flow that depends on the class.

    Example:
        >>> found = measure_interference(run)
        >>> bool(found["cosine"].between(-1.001, 1.001).all())
        True
    """
    snapshot = run[after]
    model = snapshot.model(pick_device())
    images = run.features.where(split="train", label=0)
    if isinstance(model, UniAD):
        loss = reconstruction_losses(model, images, n_images=n_images)
        shared = list(model.parameters())
    else:
        refuse_several_flows(model)
        losses = run.config.train.losses
        loss = flow_losses(model, images, losses, n_images=n_images)
        shared = [w for level in model.levels for w in level.flow.parameters()]
    found = interference(loss, shared, snapshot.categories, distance=distance)
    task_of = {name: task for task, names in enumerate(run.tasks) for name in names}
    found["task"] = found["category"].map(task_of)
    found["other_task"] = found["other"].map(task_of)
    columns = ["task", "category", "other_task", "other", "cosine", "cost"]
    return found[columns].assign(step=snapshot.step)


def flow_losses(
    model: FlowModel, images: Features, losses: LossConfig, *, n_images: int = 16
) -> Callable[[str], Tensor]:
    """The loss of a flow on normal images of one category, as a function of its name.

    Args:
        model: The model.
        images: Normal images of all categories.
        losses: Weights of HGAD's terms.
        n_images: Images per category, the first ones.
    """

    def loss(category: str) -> Tensor:
        few = _first(images, category, n_images)
        y = model.class_ids(list(few.samples["category"]))
        total = torch.zeros((), device=y.device)
        for level, x in zip(model.levels, few.read(), strict=True):
            z, log_det = level(x.flatten(0, 1).to(level.codes), None, y)
            terms = hgad_losses(
                level.mixture,
                z,
                log_det,
                y,
                intra=True,
                label_smoothing=losses.label_smoothing,
            )
            total = total + hgad_total(terms, losses)
        return total

    return loss


def reconstruction_losses(
    model: UniAD, images: Features, *, n_images: int = 16
) -> Callable[[str], Tensor]:
    """The loss of a model that reconstructs, as `flow_losses` has a flow's.

    Args:
        model: The model.
        images: Normal images of all categories.
        n_images: Images per category, the first ones.
    """

    def loss(category: str) -> Tensor:
        few = _first(images, category, n_images)
        y = model.class_ids(list(few.samples["category"]))
        terms = model.losses([x.to(y.device) for x in few.read()], y, None)
        return torch.stack(list(terms.values())).sum()

    return loss


def _first(images: Features, category: str, n: int) -> Features:
    few = images.where(category=category)
    return few.take(range(min(n, len(few))))


def interference(
    loss: Callable[[str], Tensor],
    shared: Sequence[nn.Parameter],
    categories: Sequence[str],
    *,
    distance: float = 1e-4,
) -> pd.DataFrame:
    r"""Cosine of the gradients of every two classes, and what a step for one costs.

    With $g_k$ the gradient of the loss of class k with respect to the shared weights
    θ: `cosine` is that of $g_k$ and $g_l$; `cost` is $L_l(\theta - \epsilon \|\theta\|
    g_k/\|g_k\|) - L_l(\theta)$, in the unit of the loss. Any model that has a loss per
    class can be asked.

    How to read it: a cosine of 1 is one and the same task, 0 are weights that the other
    does not need, and below 0 what is good for one harms the other. A positive cost is
    harm; on the diagonal stands what the class itself gains. Where that is positive,
    too, the step was too long to tell.

    References:
        Gradient Surgery for Multi-Task Learning (Yu et al., 2020)
        https://arxiv.org/abs/2001.06782
        Efficiently Identifying Task Groupings for Multi-Task Learning (Fifty et al.,
        2021), where the cost is called affinity
        https://arxiv.org/abs/2109.04617

    Args:
        loss: From the name of a class to its loss, a scalar that depends on `shared`.
        shared: Parameters that all classes share; they are moved, and moved back.
        categories: Names of the classes.
        distance: Length ε of the step, as a share of ‖θ‖.

    Returns:
        One row per `category other`, the class that is stepped for and the one that is
        looked at: `cosine`, NaN where a gradient is 0, and `cost`.
    """
    before = [weight.detach().clone() for weight in shared]
    size = _flat(before).norm()
    losses, gradients = {}, {}
    for name in categories:
        value = loss(name)
        grads = torch.autograd.grad(value, list(shared), materialize_grads=True)
        losses[name], gradients[name] = value.item(), _flat(grads)
    rows = []
    for name in Bar(categories, desc="interference of classes", unit="class"):
        own = gradients[name]
        # A class without a gradient moves nothing.
        step = distance * size * own / own.norm().clamp_min(1e-30)
        with torch.no_grad():
            _move(shared, before, step)
            costs = {other: loss(other).item() - losses[other] for other in categories}
        for other in categories:
            cosine = (own @ gradients[other]) / (own.norm() * gradients[other].norm())
            rows.append((name, other, cosine.item(), costs[other]))
    with torch.no_grad():
        _move(shared, before, torch.zeros_like(step))
    return pd.DataFrame(rows, columns=["category", "other", "cosine", "cost"])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([one.flatten() for one in tensors])


def _move(
    shared: Sequence[nn.Parameter], before: Sequence[Tensor], step: Tensor
) -> None:
    """Put the parameters a step away from where they were."""
    parts = step.split([weight.numel() for weight in shared])
    for weight, old, part in zip(shared, before, parts):
        weight.copy_(old - part.view_as(old))
