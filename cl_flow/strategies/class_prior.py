"""Class prior: the class conditions the flow.

One Gaussian is the base of all, so there are no centers to misalign.
"""

__all__ = ["ClassPrior"]

import torch

from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy


@STRATEGIES("class_prior")
class ClassPrior(Strategy):
    """A structural baseline.

    Fine-tuning of a flow that is told the class, with the base density N(0, I) for
    each.

    A fixed random code of the class is added to the position's. All centers and offsets
    are 0 and stay so; the entropy then is the same everywhere, and the product ranks as
    the likelihood alone.

    References:
        Pseudo-Rehearsal for Continual Learning with Normalizing Flows (Pomponi et al.,
        2020)
        https://arxiv.org/abs/2007.02443

    Args:
        scale: Standard deviation of a class code's entries; those of a position's are
            about 0.7.
    """

    GRID = ({"scale": 0.3}, {"scale": 1.0}, {"scale": 3.0})

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    @torch.no_grad()
    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        model.expand_(task.categories)
        for i, level in enumerate(model.levels):
            generator = torch.Generator().manual_seed(
                1_000_000 * model.seed + 1000 * i + model.n_classes
            )
            codes = self.scale * torch.randn(
                len(task.categories), level.codes.shape[1], generator=generator
            )
            known = codes[:0] if level.class_codes is None else level.class_codes
            level.class_codes = torch.cat(
                [known.to(level.codes), codes.to(level.codes)]
            )
            level.mixture.requires_grad_(False)
            for block in level.mixture.blocks():
                block["mu"].zero_()
                block["delta"].zero_()
        return model
