"""Draws of old classes: latents from a mixture, patches through the inverse flow."""

__all__ = ["inverted_at_random_cells", "inverted_patches", "mixture_draws"]

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_flow.align.laws import TRUNCATION
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel, Level
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
        mixture: The mixture; its frames are not looked through.
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
    return centers + noise.to(centers)


@torch.no_grad()
def inverted_patches(
    model: FlowModel,
    latents: Sequence[Tensor],
    *,
    generator: torch.Generator,
) -> tuple[PatchPool, dict[str, Tensor]]:
    """Patches of latents at cells drawn uniformly, through the inverse flow.

    Args:
        model: The model whose flow made the latents.
        latents: Per level the latents of each class (K, n, D).
        generator: Source of the cells, on the CPU.

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
    for level, by_class in zip(model.levels, latents):
        z = by_class.flatten(0, 1)
        patches, index = inverted_at_random_cells(level, z, generator=generator)
        again, _ = level(patches, index)
        gap = (again - z).abs().amax(1)
        finite = gap.isfinite() & patches.isfinite().all(1)
        x.append(patches[finite])
        cells.append(index[finite])
        n_finite = finite.view(by_class.shape[:2]).sum(1)
        counts.append(n_finite.cpu())
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


@torch.no_grad()
def inverted_at_random_cells(
    level: Level,
    z: Tensor,
    *,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Patches (N, D) of latents (N, D) under one level, finite or not, and cells (N,).

    The cells are drawn uniformly.
    """
    cells = torch.randint(
        len(level.codes),
        (len(z),),
        generator=generator,
    )
    cells = cells.to(z.device)
    patches, _ = level.inverse(z, cells)
    return patches, cells
