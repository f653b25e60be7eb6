"""Placements of the centers of new classes.

Each is a function (old centers, n, data, generator) -> (old ones kept or moved, new
ones).
"""

__all__ = ["ONE_DIMENSION_EACH", "PLACEMENTS", "SPACING", "smallest_distance", "tile"]

import math

import torch
from torch import Tensor

from cl_flow.registry import Registry

# Distance between two main centers at initialisation, in units of the component's
# standard deviation.
SPACING = 5.0
PLACEMENTS: Registry = Registry("placement of new centers")
# Those that have room for as many classes as there are dimensions.
ONE_DIMENSION_EACH = ("tile", "retile", "orthogonal")


def smallest_distance(mu: Tensor) -> float:
    """Smallest Euclidean distance between two rows of `mu` (K, D).

    It is infinite for fewer than two.

    Example:
        >>> old = torch.zeros(0, 6)
        >>> _, centers = tile(old, 3, None, None)
        >>> smallest_distance(centers)
        5.0
    """
    if len(mu) < 2:
        return math.inf
    distances = torch.nn.functional.pdist(mu.detach())
    return distances.min().item()


def _tiled(k: int, like: Tensor) -> Tensor:
    """HGAD's initial centers: a K×K identity repeated along D.

    It is scaled to a distance of 5 between any two.
    """
    dim = like.shape[1]
    if k > dim:
        raise ValueError(
            "Expected at most as many classes as dimensions to tile; "
            f"got {k} classes in {dim} dimensions."
        )
    repeats = dim // k
    eye = torch.eye(k, dtype=like.dtype, device=like.device)
    tiles = eye.repeat(1, repeats)
    rest = like.new_zeros(k, dim - k * repeats)
    rows = torch.cat([tiles, rest], dim=1)
    height = SPACING / math.sqrt(2 * repeats)
    return rows * height


@PLACEMENTS
def tile(
    old: Tensor,
    n: int,
    data: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """The new rows of HGAD's geometry for K+n classes.

    Old rows stay, so a new class can land close to one.
    """
    k = len(old)
    rows = _tiled(k + n, old)
    return old, rows[k:]


@PLACEMENTS
def retile(
    old: Tensor,
    n: int,
    data: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """HGAD's geometry for K+n classes, the old centers moved into it as well.

    Everything learned of the old ones is lost.
    """
    k = len(old)
    rows = _tiled(k + n, old)
    return rows[:k], rows[k:]


@PLACEMENTS
def orthogonal(
    old: Tensor,
    n: int,
    data: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Random directions orthogonal to all centers and each other.

    Each new center is at distance ≥ 5 from every other one.
    """
    k, dim = old.shape
    if k + n > dim:
        raise ValueError(
            "Expected K + n ≤ D for orthogonal centers; "
            f"got {k} + {n} in {dim} dimensions."
        )
    centers = old.double()
    directions = torch.randn(dim, n, generator=generator, dtype=torch.float64)
    directions = directions.to(old.device)
    columns = torch.cat([centers.T, directions], dim=1)
    basis = torch.linalg.qr(columns).Q[:, k:]
    new = basis.T * _radius(centers)
    return old, new.to(old.dtype)


def _radius(centers: Tensor) -> float:
    """Norm at which orthogonal centers are far enough from each other and the old."""
    radius = SPACING / math.sqrt(2)
    if not len(centers):
        return radius
    squares = centers.square().sum(1)
    missing = SPACING**2 - squares.min().item()
    return max(radius, math.sqrt(max(0.0, missing)))


@PLACEMENTS("data")
def at_data(
    old: Tensor,
    n: int,
    data: Tensor | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """The means of the new classes' latents under the current flow."""
    expected = (n, old.shape[1])
    shape = None if data is None else tuple(data.shape)
    if shape != expected:
        raise ValueError(
            f"Expected data of shape {expected}, the means of the new classes; "
            f"got {shape}."
        )
    return old, data.to(old)
