"""Learning without forgetting.

On new images, the old model's answers are to stay.
"""

__all__ = ["LwF"]

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.old_model import frozen

TARGETS = ("posterior", "latents")


@STRATEGIES("lwf")
class LwF(Strategy):
    r"""Distil on the new task's patches.

    Nothing is kept but the model itself.

    `"posterior"`: $T^2\,\mathrm{KL}(p_\mathrm{old} \| p_\mathrm{new})$ over the old
    classes, p = softmax(ℓ/T); `"latents"`: $\|z - z_\mathrm{old}\|^2/D + ((\log\det -
    \log\det_\mathrm{old})/D)^2$. Both are means over patches, summed over levels.

    References:
        Learning without Forgetting (Li and Hoiem, 2016)
        https://arxiv.org/abs/1606.09282

    Args:
        strength: Weight of the term.
        on: `"posterior"` or `"latents"`.
        temperature: T of the posteriors.
    """

    capturable = True
    GRID = (
        {"strength": 1e2},
        {"strength": 1e4},
        {"strength": 1.0, "on": "latents"},
        {"strength": 1e2, "on": "latents"},
    )

    def __init__(
        self, *, strength: float = 1e2, on: str = "posterior", temperature: float = 2.0
    ) -> None:
        super().__init__()
        refuse_unknown("target of LwF", on, TARGETS)
        self.strength = strength
        self.on = on
        self.temperature = temperature
        self._old: FlowModel | None = None
        self._n_old = 0

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        self._n_old = model.n_classes - len(task.categories)
        self._old = frozen(model) if self._n_old else None
        return task.features

    def penalty(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._old is None:
            return total
        distance = (
            self._between_posteriors if self.on == "posterior" else _between_latents
        )
        for i, (x, index, new) in enumerate(zip(batch.x, batch.index, latents)):
            total = total + distance(i, model, new, self._old.levels[i](x, index))
        return self.strength * total

    def _between_posteriors(
        self,
        i: int,
        model: FlowModel,
        new: tuple[Tensor, Tensor],
        old: tuple[Tensor, Tensor],
    ) -> Tensor:
        classes = torch.arange(self._n_old, device=old[0].device)
        log_p, log_p_old = (
            (
                m.levels[i].mixture.log_kernel(z, classes=classes) / self.temperature
            ).log_softmax(1)
            for m, (z, _) in ((model, new), (self._old, old))
        )
        return self.temperature**2 * F.kl_div(
            log_p, log_p_old, log_target=True, reduction="batchmean"
        )


def _between_latents(
    i: int, model: FlowModel, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]
) -> Tensor:
    dim = model.levels[i].dim
    return (new[0] - old[0]).square().mean() + ((new[1] - old[1]) / dim).square().mean()
