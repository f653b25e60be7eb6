"""Elastic weight consolidation.

Weights that mattered for earlier tasks are held near what they were.
"""

__all__ = ["EWC"]

from collections.abc import Mapping

from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.old_model import per_image_fisher


@STRATEGIES("ewc")
class EWC(Strategy):
    r"""Online elastic weight consolidation.

    The penalty is $\frac\lambda2 \sum_i F_i (\theta_i - \theta^*_i)^2$, the Fisher
    information decaying task by task.

    It holds the whole flow and the old centers; those of the new classes are free.

    References:
        Overcoming catastrophic forgetting in neural networks (Kirkpatrick et al., 2017)
        https://arxiv.org/abs/1612.00796
        Progress & Compress (Schwarz et al., 2018) https://arxiv.org/abs/1805.06370

    Args:
        strength: λ, over Fisher information of log p(x|y) per patch and dimension.
        decay: What of the information of earlier tasks is left after one more.
    """

    capturable = True
    GRID = ({"strength": 1e4}, {"strength": 1e6}, {"strength": 1e8})

    def __init__(self, *, strength: float = 1e6, decay: float = 1.0) -> None:
        super().__init__()
        self.strength = strength
        self.decay = decay
        self._anchor: dict[str, Tensor] = {}

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        device = model.levels[0].codes.device
        self.memory = {
            name: self.memory[name].to(device) for name in sorted(self.memory)
        }
        parameters = dict(model.named_parameters())
        self._anchor = {name: parameters[name].detach().clone() for name in self.memory}
        return task.features

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        parameters = dict(model.named_parameters())
        total = latents[0][0].new_zeros(())
        for name, fisher in self.memory.items():
            total = (
                total
                + (fisher * (parameters[name] - self._anchor[name]).square()).sum()
            )
        return 0.5 * self.strength * total

    def consolidate(self, model: FlowModel, task: Task) -> None:
        fisher = per_image_fisher(model, task.features)
        for name, earlier in self.memory.items():
            fisher[name] = self.decay * earlier + fisher.get(name, 0.0)
        self.memory = fisher
