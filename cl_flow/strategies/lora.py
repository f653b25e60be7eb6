"""Low-rank adapters: every later task adds a few weights of its own.

The flow is that of the first task.
"""

__all__ = ["DECOFLOW", "LoRA"]

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.model.task_layers import remove_layers_, surround_
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.packnet import weights
from cl_flow.strategies.shared.seeds import task_seed

BIASES = ("inner_bias", "outer.bias")
# Every part of the method of that name.
DECOFLOW = {"biases": True, "align": True, "couplings": 2, "tail": 1.0}


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

    A later task trains W + up·down of rank r, and what else it is given: biases, an
    alignment of its input, couplings after the flow, a term for the least likely
    patches. All of it together (`DECOFLOW`) stands for the method of that name, with
    HGAD's losses and centers. It leaves out what has no determinant (the norm over the
    channels, the mixing of neighbours), and further the convolution of the context,
    the penalty on log_det and the adapters of the first task.

    A class is scored with what its own task has trained (`cl_flow.model.class_views`),
    so that a later task cannot change the latents of an earlier one. With old centers
    frozen (`RunConfig.centers`) it cannot change log p(x|y) either, which compares
    across tasks, as every part counts its determinant, and so routes an image. The
    entropy alone still changes: it compares centers that the older flow never saw,
    unless `Scoring(entropy="task")` leaves them out.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2022)
        https://arxiv.org/abs/2106.09685
        DeCoFlow (2026), which applies it to flows for anomaly detection
        https://arxiv.org/abs/2606.26687

    Args:
        rank: r.
        biases: Whether a task has biases of its own in every subnet.
        align: Whether it scales and shifts the channels of its patches first.
        couplings: Couplings of its own after the flow; 0 for none.
        tail: Weight of the tail-aware term, the mean of −log p(x|y)/D over the least
            likely patches of a batch; 0 leaves it out.
        tail_share: Share of the patches that are the least likely.
    """

    capturable = True
    GRID = (
        {"rank": 8},
        DECOFLOW,
        {**DECOFLOW, "couplings": 0},
        {**DECOFLOW, "tail": 0.0},
    )

    def __init__(
        self,
        *,
        rank: int = 8,
        biases: bool = False,
        align: bool = False,
        couplings: int = 0,
        tail: float = 0.0,
        tail_share: float = 0.02,
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"Expected a rank of 1 or more; got {rank}.")
        if couplings < 0 or not (0 <= tail < math.inf and 0 < tail_share <= 1):
            raise ValueError(
                "Expected couplings and tail of 0 or more, and a tail_share above 0, "
                f"1 at most; got {couplings}, {tail} and {tail_share}."
            )
        self.rank = rank
        self.biases = biases
        self.align = align
        self.couplings = couplings
        self.tail = tail
        self.tail_share = tail_share
        self._base: dict[str, Tensor] = {}

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        self.penalty = self._tail_term if self.tail and task.index else None
        if task.index:
            self._begin(model, seed=task_seed(model, task))
        return task.features

    def _begin(self, model: FlowModel, seed: int) -> None:
        """Freeze the flow, and give the model what this task trains instead."""
        generator = torch.Generator().manual_seed(seed)
        for level in model.levels:
            level.flow.requires_grad_(False)
        for _, module, attribute in weights(model):
            adapter = LowRank(getattr(module, attribute), self.rank, generator)
            parametrize.register_parametrization(module, attribute, adapter)
        self._base = {}
        for name, bias in _biases(model) if self.biases else ():
            self._base[name] = bias.detach().clone()
            bias.requires_grad_(True)
        surround_(model, align=self.align, n_couplings=self.couplings, seed=seed)

    def _tail_term(
        self,
        model: FlowModel,
        batch: Batch,
        latents: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        total = torch.zeros((), device=batch.y.device)
        for level, (z, log_det) in zip(model.levels, latents):
            log_prob = level.mixture.log_prob(z, batch.y) + log_det
            n_least = max(1, round(self.tail_share * len(log_prob)))
            least = log_prob.topk(n_least, largest=False).values
            total = total - least.mean() / level.dim
        return self.tail * total

    @torch.no_grad()
    def consolidate(self, model: FlowModel, task: Task) -> None:
        if not task.index:
            return
        for name, parameter in model.named_parameters():
            is_bias = name in self._base
            is_layer = ".before." in name or ".after." in name
            if is_bias or (is_layer and parameter.requires_grad):
                self._keep(model, task, name, parameter)
            if is_bias:
                parameter.copy_(self._base[name])
        remove_layers_(model)
        for name, module, attribute in weights(model):
            adapter = module.parametrizations[attribute][0]
            self._keep(model, task, f"{name}.up", adapter.up)
            self._keep(model, task, f"{name}.down", adapter.down)
            parametrize.remove_parametrizations(
                module, attribute, leave_parametrized=False
            )

    def _keep(self, model: FlowModel, task: Task, name: str, value: Tensor) -> None:
        model.own[f"{task.index}/{name}"] = value.detach().clone()


def _biases(model: FlowModel) -> Iterator[tuple[str, nn.Parameter]]:
    """Biases of every subnet of the flows, by name."""
    for name, parameter in model.named_parameters():
        if ".flow." in name and name.endswith(BIASES):
            yield name, parameter
