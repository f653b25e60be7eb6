"""Patches that the old flow makes up.

Latents of the earlier classes, drawn and sent back through it.
"""

__all__ = ["InvertedSamples"]

import torch
from torch import Tensor

from cl_flow.align.draws import inverted_patches, mixture_draws
from cl_flow.align.laws import Gaussians, latent_gaussians, pool_gaussians
from cl_flow.calls import refuse_unknown
from cl_flow.data.patches import PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.shared.old_model import frozen

LAWS = ("empirical", "mixture")


class InvertedSamples:
    """Patches of old classes, drawn through the inverse of the old flow.

    They start from where the classes lie in the latents.

    The law `"empirical"` is a Gaussian per class, measured on the class's latents when
    it is learned and carried along on dreamt patches afterwards; `"mixture"` is the
    model's own base density, which costs no byte, and is wrong to the degree that the
    latents do not fill it. Both are truncated: far out the inverse explodes.

    Args:
        law: `"empirical"` or `"mixture"`.
        pool: Patches drawn of each class and level before a task.
    """

    def __init__(self, *, law: str, pool: int) -> None:
        refuse_unknown("law of latents", law, LAWS)
        self.law = law
        self.pool = pool
        self.old: FlowModel | None = None
        self.bag: PatchPool | None = None

    @torch.no_grad()
    def begin(self, model: FlowModel, task: Task, memory: dict[str, Tensor]) -> bool:
        """Draw the pool from the model as it is.

        Notes how exact its inverse is; False for the first task.
        """
        n_old = model.n_classes - len(task.categories)
        self.old = frozen(model) if n_old else None
        if not n_old:
            return False
        generator = torch.Generator().manual_seed(1000 * model.seed + task.index)
        latents = self._latents(memory, n_old, generator)
        self.bag, facts = inverted_patches(self.old, latents, generator=generator)
        memory |= facts
        return True

    @torch.no_grad()
    def end(self, model: FlowModel, task: Task, memory: dict[str, Tensor]) -> None:
        """Measure where the classes lie now.

        The new ones on their images, the old ones on what was dreamt of them.
        """
        if self.law == "mixture":
            return
        laws = latent_gaussians(model, task.features, task.categories)
        if self.bag is not None:
            laws = pool_gaussians(model, self.bag).followed_by(laws)
        memory |= laws.tensors()

    def _latents(
        self, memory: dict[str, Tensor], n_old: int, generator: torch.Generator
    ) -> list[Tensor]:
        if self.law == "mixture":
            return [
                mixture_draws(
                    level.mixture, range(n_old), self.pool, generator=generator
                )
                for level in self.old.levels
            ]
        device = self.old.levels[0].codes.device
        return Gaussians.stored(memory, 1, device).sample(
            self.pool, generator=generator
        )
