"""Patches that the old flow makes up.

Latents of the earlier classes, drawn and sent back through it.
"""

__all__ = ["InvertedSamples"]

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_flow.align.laws import TRUNCATION, Gaussians, latent_gaussians, pushed
from cl_flow.data.patches import PatchPool
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.model.mixture import Mixture
from cl_flow.strategies.shared.old_model import frozen

LAWS = ("empirical", "mixture")


class InvertedSamples:
    """Patches of old classes, drawn through the inverse of the old flow.

    They start from where the classes lie in the latents.

    The law `"empirical"` is a Gaussian per class, measured on the class's latents when
    it is learnt and carried along on dreamt patches afterwards; `"mixture"` is the
    model's own base density, which costs no byte, and is wrong to the degree that the
    latents do not fill it. Both are truncated: far out the inverse explodes.

    Args:
        law: `"empirical"` or `"mixture"`.
        pool: Patches drawn of each class and level before a task.
    """

    def __init__(self, *, law: str, pool: int) -> None:
        if law not in LAWS:
            raise ValueError(
                f"Unknown law of latents {law!r}; known: {', '.join(LAWS)}."
            )
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
        self.bag, facts = _inverted(self.old, latents, generator)
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
            laws = pushed(model, self.bag).followed_by(laws)
        memory |= laws.tensors()

    def _latents(
        self, memory: dict[str, Tensor], n_old: int, generator: torch.Generator
    ) -> list[Tensor]:
        if self.law == "mixture":
            return [
                _from_mixture(level.mixture, n_old, self.pool, generator)
                for level in self.old.levels
            ]
        device = self.old.levels[0].codes.device
        return Gaussians.stored(memory, 1, device).sample(
            self.pool, generator=generator
        )


def _from_mixture(
    mixture: Mixture, k: int, n: int, generator: torch.Generator
) -> Tensor:
    """Draws (k, n, D) of the first classes from a mixture.

    Each coordinate lies within 2.5σ of its component's center.
    """
    which = torch.multinomial(
        mixture.psi[:k].softmax(1).cpu(), n, replacement=True, generator=generator
    )
    noise = (
        torch.empty(k, n, mixture.dim)
        .normal_(generator=generator)
        .clamp_(-TRUNCATION, TRUNCATION)
    )
    centers = mixture.components()[:k]
    return centers.gather(
        1, which.to(centers.device)[..., None].expand(-1, -1, mixture.dim)
    ) + noise.to(centers)


def _inverted(
    old: FlowModel, latents: Sequence[Tensor], generator: torch.Generator
) -> tuple[PatchPool, dict[str, Tensor]]:
    """Patches of latents (K, n, D) at random cells.

    And per level the inversion error and the finite share.
    """
    x = []
    cells = []
    counts = []
    error = []
    share = []
    for level, z in zip(old.levels, latents):
        k, n, dim = z.shape
        z = z.reshape(k * n, dim)
        index = torch.randint(len(level.codes), (k * n,), generator=generator).to(
            z.device
        )
        patches, _ = level.inverse(z, index)
        gap = (level(patches, index)[0] - z).abs().amax(1)
        finite = gap.isfinite() & patches.isfinite().all(1)
        counts.append(finite.view(k, n).sum(1).cpu())
        x.append(patches[finite])
        cells.append(index[finite])
        error.append(gap[finite].mean())
        share.append(finite.float().mean())
    if min(int(count.min()) for count in counts) == 0:
        raise FloatingPointError(
            "Expected finite patches of every class from the inverse flow; got none of "
            "one."
        )
    return PatchPool(x, cells, counts), {
        "inversion_error": torch.stack(error),
        "finite_share": torch.stack(share),
    }
