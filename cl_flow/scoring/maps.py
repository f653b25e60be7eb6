"""Patch scores to anomaly maps."""

__all__ = ["anomaly_maps", "maps_of_set"]

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from cl_flow.calls import checked

# Images at a time.
BATCH = 32


@checked
def anomaly_maps(
    levels: list[Tensor],
    grids: Sequence[tuple[int, int]],
    size: tuple[int, int],
    sigma: float,
) -> Tensor:
    """Maps of patch scores: upsampled, summed over levels, smoothed.

    One small matrix per side does the first and the last, where the scores are; beside
    the maps themselves it takes memory for a few images.

    Args:
        levels: Scores (n, S) of each level.
        grids: Height and width of each level's feature map.
        size: Height and width of the maps.
        sigma: Standard deviation of the smoothing in pixels of the map.

    Returns:
        Maps (n, H, W), where the scores are.

    Example:
        >>> patches = torch.zeros(1, 16)
        >>> patches[0, 5] = 1.0
        >>> maps = anomaly_maps([patches], [(4, 4)], (8, 8), sigma=0.0)
        >>> maps.shape
        torch.Size([1, 8, 8])
        >>> maps[0, :4, :4].sum() > maps[0, 4:, 4:].sum()
        tensor(True)
    """
    maps = levels[0].new_empty(len(levels[0]), *size)
    sides = []
    for values, grid in zip(levels, grids):
        rows, columns = (_resampler(*side, sigma) for side in zip(grid, size))
        sides.append((rows.to(values), columns.to(values)))
    for start in range(0, len(maps), BATCH):
        chosen = slice(start, start + BATCH)
        total = 0.0
        for values, grid, (rows, columns) in zip(levels, grids, sides):
            images = values[chosen].reshape(-1, *grid)
            total = total + rows @ images @ columns.T
        maps[chosen] = total
    return maps


def maps_of_set(
    levels: list[Tensor],
    grids: Sequence[tuple[int, int]],
    size: tuple[int, int],
    sigma: float,
) -> Tensor:
    """Maps of patch normalities by the published protocol.

    A level's maximum over all images counts as normal, and so does the smallest value
    of the unsmoothed maps.

    Args:
        levels: Normalities (n, S) of each level.
        grids: Height and width of each level's feature map.
        size: Height and width of the maps.
        sigma: Standard deviation of the smoothing in pixels of the map.

    Returns:
        Maps (n, H, W), where the normalities are.
    """
    anomalies = []
    for values in levels:
        gap = values - values.max()
        # Precise near 0, where entropies lie.
        anomalies.append(-torch.expm1(gap))
    maps = anomaly_maps(anomalies, grids, size, sigma)
    unsmoothed = anomaly_maps(anomalies, grids, size, 0.0)
    return maps - unsmoothed.min()


@cache
def _resampler(n_in: int, n_out: int, sigma: float) -> Tensor:
    """Matrix (n_out, n_in) of upsampling and smoothing.

    Bilinear (corners aligned), followed by a Gaussian; its rows sum to 1.
    """
    eye = torch.eye(n_in, dtype=torch.float64)[:, None]
    up = F.interpolate(eye, size=n_out, mode="linear", align_corners=True)
    columns = up[:, 0].numpy()
    if sigma:
        columns = gaussian_filter1d(columns, sigma, axis=1)
    return torch.as_tensor(columns.T.copy(), dtype=torch.float32)
