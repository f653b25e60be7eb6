"""PackNet: every task trains the weights that are still free.

It keeps the largest, and hands on the rest.
"""

__all__ = ["PackNet", "small_parameters", "weights"]

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cl_flow.data.features import Features
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy

FREE = 255  # owner of a weight that no task has taken yet
# Small: every task keeps its own.
SHARED = (
    "inner_bias",
    "outer.bias",
    "global_scale",
    "global_offset",
)


class Packed(nn.Module):
    """Weight of which earlier tasks own a part to the bit.

    Of the rest only what is `open` is not zero.
    """

    def __init__(self, weight: Tensor, owner: Tensor) -> None:
        super().__init__()
        self.register_buffer("fixed", weight.detach().clone())
        self.register_buffer("free", owner == FREE)
        self.register_buffer("open", self.free.clone())

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.free, weight * self.open, self.fixed)


@STRATEGIES("packnet")
class PackNet(Strategy):
    """Give each task a share of every weight matrix.

    The shares are fixed before the stream begins; by default all are alike.

    Half of a task's steps train all free weights; then those of largest magnitude are
    kept, the others are set to zero, and the second half retrains. Biases and global
    scales, few in number, are kept per task. A class is scored with the weights that
    its task and the earlier ones own (`cl_flow.model.class_views`).

    References:
        PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning (Mallya
        and Lazebnik, 2018)
        https://arxiv.org/abs/1711.05769

    Args:
        first: Share of the weights that the first task takes, the others sharing the
            rest; None is an even share.
    """

    GRID = ({}, {"first": 0.5}, {"first": 0.8})
    open_ended = False

    def __init__(self, *, first: float | None = None) -> None:
        super().__init__()
        if first is not None and not 0 < first < 1:
            raise ValueError(
                f"Expected a share of the weights between 0 and 1; got {first}."
            )
        self.first = first
        self._n_tasks = 1
        self._index = 0

    def arrange(self, stream: list[Task]) -> list[Task]:
        self._n_tasks = len(stream)
        return stream

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        self._index = task.index
        for name, module, attribute in weights(model):
            weight = getattr(module, attribute)
            owner = model.own.get(
                f"owner/{name}", torch.full_like(weight, FREE, dtype=torch.uint8)
            )
            model.own[f"owner/{name}"] = owner
            parametrize.register_parametrization(
                module, attribute, Packed(weight, owner)
            )
        return task.features

    @torch.no_grad()
    def midway(self, model: FlowModel) -> None:
        """Keep the largest free weights of each matrix, and close the others.

        As many as are this task's.
        """
        for _, module, attribute in weights(model):
            packed = module.parametrizations[attribute][0]
            magnitude = (
                getattr(module, attribute)
                .abs()
                .masked_fill(~packed.free, -1.0)
                .flatten()
            )
            n = min(self._quota(magnitude.numel()), int(packed.free.sum()))
            packed.open.zero_().view(-1)[magnitude.topk(n).indices] = True

    def consolidate(self, model: FlowModel, task: Task) -> None:
        for name, module, attribute in weights(model):
            taken = module.parametrizations[attribute][0].open
            parametrize.remove_parametrizations(module, attribute)
            model.own[f"owner/{name}"] = model.own[f"owner/{name}"].masked_fill(
                taken, task.index
            )
        model.own |= {
            f"{task.index}/{name}": value.detach().clone()
            for name, value in small_parameters(model)
        }

    def _quota(self, n: int) -> int:
        """Number of n weights that are the current task's.

        The last one takes what is left.
        """
        if self._index == self._n_tasks - 1:
            return n
        first = 1 / self._n_tasks if self.first is None else self.first
        return int(
            n * (first if self._index == 0 else (1 - first) / (self._n_tasks - 1))
        )


def small_parameters(model: FlowModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Biases and global scales of the flows, by name."""
    for name, parameter in model.named_parameters():
        if ".flow." in name and name.endswith(SHARED):
            yield name, parameter


def weights(model: FlowModel) -> Iterator[tuple[str, nn.Module, str]]:
    """Every weight matrix of the flows.

    Its name, the module that holds it, and its attribute there.
    """
    from cl_flow.model.coupling import Coupling

    for name, module in model.named_modules():
        if isinstance(module, Coupling):
            yield f"{name}.inner_weight", module, "inner_weight"
            yield f"{name}.position_weight", module, "position_weight"
            yield f"{name}.outer.weight", module.outer, "weight"
