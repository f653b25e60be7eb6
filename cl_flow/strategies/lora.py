"""Low-rank adapters: every later task adds a few directions.

The flow is that of the first task.
"""

__all__ = ["LoRA"]

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cl_flow.data.features import Features
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.packnet import weights


class LowRank(nn.Module):
    """Weight plus the product of two thin matrices.

    The first of them is zero at the start.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        n, m = weight.shape
        self.up = nn.Parameter(weight.new_zeros(n, rank))
        self.down = nn.Parameter(
            torch.randn(rank, m, generator=generator).to(weight) / m**0.5
        )

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


@STRATEGIES("lora")
class LoRA(Strategy):
    """Every weight matrix of the flow is frozen after the first task.

    a later task trains W + up·down of rank r.

    Biases and global scales stay those of the first task. A class is scored with the
    adapters of its own task (`cl_flow.model.class_views`), so that a later task cannot
    change the latents of an earlier one.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2022)
        https://arxiv.org/abs/2106.09685
        DeCoFlow (2026), which applies it to flows for anomaly detection
        https://arxiv.org/abs/2606.26687

    Args:
        rank: r.
    """

    GRID = ({"rank": 2}, {"rank": 8}, {"rank": 32})

    def __init__(self, *, rank: int = 8) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"Expected a rank of 1 or more; got {rank}.")
        self.rank = rank

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        if task.index:
            generator = torch.Generator().manual_seed(1000 * model.seed + task.index)
            for level in model.levels:
                level.flow.requires_grad_(False)
            for _, module, attribute in weights(model):
                adapter = LowRank(getattr(module, attribute), self.rank, generator)
                parametrize.register_parametrization(module, attribute, adapter)
        return task.features

    def consolidate(self, model: FlowModel, task: Task) -> None:
        for name, module, attribute in weights(model) if task.index else ():
            adapter = module.parametrizations[attribute][0]
            model.own[f"{task.index}/{name}.up"] = adapter.up.detach().clone()
            model.own[f"{task.index}/{name}.down"] = adapter.down.detach().clone()
            parametrize.remove_parametrizations(
                module, attribute, leave_parametrized=False
            )
