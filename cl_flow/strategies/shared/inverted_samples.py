"""Patches that the old flow makes up.

Latents of the earlier classes, drawn and sent back through it.
"""

__all__ = ["InvertedSamples"]

import torch
from torch import Tensor

from cl_flow.align.draws import inverted_patches, mixture_pool
from cl_flow.align.law_fits import LawOptions, latent_laws, pool_laws
from cl_flow.align.laws import ClassLaws
from cl_flow.calls import refuse_unknown
from cl_flow.data.patches import PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.shared.old_model import frozen
from cl_flow.strategies.shared.seeds import task_generator

LAWS = ("empirical", "mixture")


class InvertedSamples:
    """Patches of old classes, drawn through the inverse of the old flow.

    They start from where the classes lie in the latents.

    The law `"empirical"` is that of the class's latents, measured when the class is
    learned and carried along on dreamt patches afterwards; `"mixture"` is the model's
    own base density, which costs no byte, and is wrong to the degree that the latents
    do not fill it. Both are truncated: far out the inverse explodes.

    Args:
        law: `"empirical"` or `"mixture"`.
        options: What the empirical law looks like.
        pool: Patches drawn of each class and level before a task.
    """

    def __init__(self, *, law: str, options: LawOptions, pool: int) -> None:
        refuse_unknown("law of latents", law, LAWS)
        self.law = law
        self.options = options
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
        if self.old is None:
            return False
        generator = task_generator(model, task)
        kept = ClassLaws.stored(memory, self.old.levels[0].codes.device)
        if kept is None:
            latents = mixture_pool(
                self.old, range(n_old), self.pool, generator=generator
            )
        else:
            latents = kept.pool(self.pool, generator=generator)
        self.bag, facts = inverted_patches(self.old, latents)
        memory |= facts
        return True

    def end(self, model: FlowModel, task: Task, memory: dict[str, Tensor]) -> None:
        """Measure where the classes lie now.

        The new ones on their images, the old ones on what was dreamt of them.
        """
        if self.law == "mixture":
            return
        generator = task_generator(model, task)
        laws = latent_laws(
            model, task.features, task.categories, self.options, generator=generator
        )
        if self.bag is not None:
            old = pool_laws(model, self.bag, self.options, generator=generator)
            laws = old.followed_by(laws)
        memory |= laws.tensors()
