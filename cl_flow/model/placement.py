"""Where the centers of new classes go: (old centers, n, data, generator) -> (old ones
kept or moved, new ones).
"""

__all__ = ["PLACEMENTS", "SPACING", "smallest_distance", "tile"]

import math

import torch
from torch import Tensor

from cl_flow.registry import Registry

SPACING = 5.0  # distance between two main centers at initialisation, in units of the component's standard deviation
PLACEMENTS: Registry = Registry("placement of new centers")


def smallest_distance(mu: Tensor) -> float:
    """Smallest Euclidean distance between two rows of `mu` (K, D); infinite for fewer
    than two.
    """
    return (
        torch.nn.functional.pdist(mu.detach()).min().item() if len(mu) > 1 else math.inf
    )


def _tiled(k: int, like: Tensor) -> Tensor:
    """HGAD's initial centers: a K×K identity repeated along D, scaled to a distance of
    5 between any two.
    """
    dim = like.shape[1]
    if k > dim:
        raise ValueError(
            f"Expected at most as many classes as dimensions to tile; got {k} classes in {dim} dimensions."
        )
    repeats = dim // k
    eye = torch.eye(k, dtype=like.dtype, device=like.device)
    return torch.cat(
        [eye.repeat(1, repeats), like.new_zeros(k, dim - k * repeats)], dim=1
    ) * (SPACING / math.sqrt(2 * repeats))


@PLACEMENTS
def tile(
    old: Tensor, n: int, data: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The new rows of HGAD's geometry for K+n classes; old rows stay, so a new class
    can land close to one.
    """
    return old, _tiled(len(old) + n, old)[len(old) :]


@PLACEMENTS
def retile(
    old: Tensor, n: int, data: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """HGAD's geometry for K+n classes, the old centers moved into it as well: what was
    learnt of them is lost.
    """
    rows = _tiled(len(old) + n, old)
    return rows[: len(old)], rows[len(old) :]


@PLACEMENTS
def orthogonal(
    old: Tensor, n: int, data: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Random directions orthogonal to all centers and each other, at distance ≥ 5 from
    every other center.
    """
    k, dim = old.shape
    if k + n > dim:
        raise ValueError(
            f"Expected K + n ≤ D for orthogonal centers; got {k} + {n} in {dim} dimensions."
        )
    directions = torch.randn(dim, n, generator=generator, dtype=torch.float64).to(
        old.device
    )
    basis = torch.linalg.qr(torch.cat([old.double().T, directions], dim=1)).Q[:, k:].T
    radius = SPACING / math.sqrt(2)
    if k:
        radius = max(
            radius,
            math.sqrt(max(0.0, SPACING**2 - old.double().square().sum(1).min().item())),
        )
    return old, (basis * radius).to(old.dtype)


@PLACEMENTS("data")
def at_data(
    old: Tensor, n: int, data: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The means of the new classes' latents under the current flow."""
    shape = None if data is None else tuple(data.shape)
    if shape != (n, old.shape[1]):
        raise ValueError(
            f"Expected data of shape {(n, old.shape[1])}, the means of the new classes; got {shape}."
        )
    return old, data.to(old)
