"""Patch scores to anomaly maps."""

__all__ = ["anomaly_maps", "maps_of_set"]

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor


def anomaly_maps(
    levels: list[Tensor],
    grids: Sequence[tuple[int, int]],
    size: tuple[int, int],
    sigma: float,
) -> Tensor:
    """Patch scores (n, S) per level as maps.

    Upsampled, summed over levels, smoothed (n, H, W), on the CPU.

    One small matrix per side does the first and the last, where the scores are; beside
    the maps themselves it takes memory for a few images.

    Example:
        >>> patches = torch.zeros(1, 16)
        >>> patches[0, 5] = 1.0
        >>> maps = anomaly_maps([patches], [(4, 4)], (8, 8), sigma=0.0)
        >>> maps.shape, maps[0, :4, :4].sum() > maps[0, 4:, 4:].sum()
        (torch.Size([1, 8, 8]), tensor(True))
    """
    maps = torch.empty(len(levels[0]), *size)
    sides = [
        [_resampler(*side, sigma).to(values) for side in zip(grid, size)]
        for values, grid in zip(levels, grids)
    ]
    for start in range(0, len(maps), 32):
        total = 0.0
        for values, grid, (rows, columns) in zip(levels, grids, sides):
            total = (
                total + rows @ values[start : start + 32].reshape(-1, *grid) @ columns.T
            )
        maps[start : start + 32] = total
    return maps


def maps_of_set(
    levels: list[Tensor],
    grids: Sequence[tuple[int, int]],
    size: tuple[int, int],
    sigma: float,
) -> Tensor:
    # Precise near 0, where entropies lie.
    anomaly = [-torch.expm1(values - values.max()) for values in levels]
    return (
        anomaly_maps(anomaly, grids, size, sigma)
        - anomaly_maps(anomaly, grids, size, 0.0).min()
    )


@cache
def _resampler(n_in: int, n_out: int, sigma: float) -> Tensor:
    """Matrix (n_out, n_in) of upsampling and smoothing.

    Bilinear (corners aligned), followed by a Gaussian; its rows sum to 1.
    """
    eye = torch.eye(n_in, dtype=torch.float64)[:, None]
    up = F.interpolate(eye, size=n_out, mode="linear", align_corners=True)[:, 0].numpy()
    smooth = gaussian_filter1d(up, sigma, axis=1) if sigma else up
    return torch.as_tensor(smooth.T.copy(), dtype=torch.float32)
