"""Draws of old classes: latents from a mixture, patches through the inverse flow."""

__all__ = ["inverted_patches", "mixture_draws", "mixture_pool"]

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_flow.align.laws import TRUNCATION
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel
from cl_flow.model.mixture import Mixture


@torch.no_grad()
def mixture_draws(
    mixture: Mixture,
    classes: Sequence[int],
    n: int,
    *,
    generator: torch.Generator,
    truncation: float = TRUNCATION,
) -> Tensor:
    """Draw `n` latents of each given class from a mixture.

    Args:
        mixture: The mixture; a class with a frame is drawn as it lies in the latents.
        classes: Class ids (k,).
        n: Draws per class.
        generator: Source of the draws, on the CPU.
        truncation: Standard deviations from a component's center beyond which no
            coordinate is drawn.

    Returns:
        Latents (k, n, D).

    Example:
        >>> mixture = Mixture(4, n_components=2).expand(3, init="orthogonal")
        >>> generator = torch.Generator().manual_seed(0)
        >>> mixture_draws(mixture, [0, 2], 50, generator=generator).shape
        torch.Size([2, 50, 4])
    """
    classes = list(classes)
    weights = mixture.psi[classes].softmax(1)
    which = torch.multinomial(
        weights.cpu(),
        n,
        replacement=True,
        generator=generator,
    )
    noise = torch.empty(len(classes), n, mixture.dim)
    noise = noise.normal_(generator=generator)
    noise = noise.clamp_(-truncation, truncation)
    components = mixture.components()[classes]
    rows = which.to(components.device)[..., None]
    centers = components.gather(1, rows.expand(-1, -1, mixture.dim))
    u = centers + noise.to(centers)
    if mixture.frames is None:
        return u
    weight, bias = (values[classes] for values in mixture.frames)
    return torch.linalg.solve(weight, (u - bias[:, None]).mT).mT


def mixture_pool(
    model: FlowModel,
    classes: Sequence[int],
    n: int,
    *,
    generator: torch.Generator,
    truncation: float = TRUNCATION,
) -> PatchPool:
    """Pool `n` latents of each given class and level, at cells drawn uniformly."""
    x = []
    cells = []
    for level in model.levels:
        z = mixture_draws(
            level.mixture, classes, n, generator=generator, truncation=truncation
        )
        n_draws = len(classes) * n
        index = torch.randint(len(level.codes), (n_draws,), generator=generator)
        x.append(z.flatten(0, 1))
        cells.append(index.to(z.device))
    counts = torch.full((len(classes),), n)
    return PatchPool(x, cells, [counts] * len(x))


@torch.no_grad()
def inverted_patches(
    model: FlowModel, latents: PatchPool
) -> tuple[PatchPool, dict[str, Tensor]]:
    """Patches of latents, back through the flow at their cells.

    Args:
        model: The model whose flow made the latents.
        latents: Per level the latents of each class, and their cells.

    Returns:
        The finite patches, and per level the `inversion_error` and `finite_share` (L,).

    Raises:
        FloatingPointError: No patch of some class is finite.
    """
    x = []
    cells = []
    counts = []
    errors = []
    shares = []
    rows = zip(model.levels, latents.x, latents.cells, latents.counts)
    for level, z, index, sizes in rows:
        patches, _ = level.inverse(z, index)
        again, _ = level(patches, index)
        gap = (again - z).abs().amax(1)
        finite = gap.isfinite() & patches.isfinite().all(1)
        x.append(patches[finite])
        cells.append(index[finite])
        by_class = finite.cpu().split(sizes.tolist())
        counts.append(torch.stack([own.sum() for own in by_class]))
        errors.append(gap[finite].mean())
        shares.append(finite.float().mean())
    if not torch.stack(counts).all():
        raise FloatingPointError(
            "Expected finite patches of every class from the inverse flow; "
            "got none of one."
        )
    facts = {
        "inversion_error": torch.stack(errors),
        "finite_share": torch.stack(shares),
    }
    return PatchPool(x, cells, counts), facts
