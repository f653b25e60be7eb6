"""Metrics of pixels where the maps are: those of `analysis.metrics`, in torch.

Maps of a GPU then stay there. A sort of the normal pixels and a search among them is
all it takes, and the counts are whole numbers, the same on every device.
"""

__all__ = ["ON_DEVICE", "of_pixels"]

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from analysis import metrics


def of_pixels(metric: Callable[..., float], masks: np.ndarray, maps: Tensor) -> float:
    """A metric of pixels, on the GPU where the maps are there and it is known how.

    Args:
        metric: A function of masks and maps, from `analysis.metrics` or one's own.
        masks: Ground truth, booleans (B, H, W).
        maps: Anomaly maps (B, H, W), on any device.

    Raises:
        ValueError: As the metric.
    """
    quick = ON_DEVICE.get(metric)
    if quick is None or maps.device.type == "cpu" or not _is_defined(masks, maps):
        return metric(masks, maps.cpu().numpy())
    return quick(masks, maps)


def _is_defined(masks: np.ndarray, maps: Tensor) -> bool:
    """Whether both classes are there and scores are finite; else the metric says so."""
    return 0 < masks.sum() < masks.size and bool(maps.isfinite().all())


class _FalseAlarms:
    """Normal pixels above, and at or above, each defective one (P,).

    Args:
        masks: Ground truth (B, H, W).
        maps: Anomaly maps (B, H, W).
    """

    def __init__(self, masks: np.ndarray, maps: Tensor) -> None:
        defective = torch.from_numpy(masks).to(maps.device)
        self.positives = maps[defective]
        negatives = maps[~defective].sort().values
        self.n = len(negatives)
        search = torch.searchsorted
        self.above = self.n - search(negatives, self.positives, right=True)
        self.at_or_above = self.n - search(negatives, self.positives)


def _pixel_auroc(masks: np.ndarray, maps: Tensor) -> float:
    false = _FalseAlarms(masks, maps)
    losses = int(false.above.sum() + false.at_or_above.sum())
    return 1 - losses / (2 * len(false.positives) * false.n)


def _pixel_ap(masks: np.ndarray, maps: Tensor) -> float:
    false = _FalseAlarms(masks, maps)
    ascending = false.positives.sort().values
    n_true = len(ascending) - torch.searchsorted(ascending, false.positives)
    return (n_true.double() / (n_true + false.at_or_above)).mean().item()


def _best_f1(masks: np.ndarray, maps: Tensor) -> tuple[float, Tensor]:
    false = _FalseAlarms(masks, maps)
    ascending = false.positives.sort().values
    n_true = len(ascending) - torch.searchsorted(ascending, false.positives)
    f1 = 2 * n_true.double() / (len(ascending) + n_true + false.at_or_above)
    # Of thresholds that are as good, the lowest.
    best = f1.max()
    return best.item(), false.positives[f1 == best].min()


def _pixel_f1(masks: np.ndarray, maps: Tensor) -> float:
    return _best_f1(masks, maps)[0]


def _pixel_iou(masks: np.ndarray, maps: Tensor) -> float:
    best, _ = _best_f1(masks, maps)
    return best / (2 - best)


def _pixel_dice(masks: np.ndarray, maps: Tensor) -> float:
    _, threshold = _best_f1(masks, maps)
    is_ill = masks.any((1, 2))
    defective = torch.from_numpy(masks[is_ill]).to(maps.device)
    found = maps[torch.from_numpy(is_ill).to(maps.device)] >= threshold
    both = (defective & found).sum((1, 2)).double()
    sizes = defective.sum((1, 2)) + found.sum((1, 2))
    return (2 * both / sizes).mean().item()


def _aupro(masks: np.ndarray, maps: Tensor, *, max_fpr: float = 0.3) -> float:
    false = _FalseAlarms(masks, maps)
    labelled: Any = ndimage.label(masks, metrics.SAME_IMAGE_8_NEIGHBOURS)
    regions, n_regions = labelled
    region = torch.from_numpy(regions[masks]).to(maps.device)
    limit = max_fpr * false.n
    entered = (limit - false.above.double()).clamp(min=0)
    ties = (false.at_or_above - false.above).double()
    ramp = torch.minimum(entered, ties)
    areas = entered - ramp + ramp.square() / (2 * ties.clamp(min=1))
    sizes = torch.bincount(region)[region]
    area = (areas / sizes).sum().item() / n_regions
    return area / limit


ON_DEVICE: dict[Callable[..., float], Callable[..., float]] = {
    metrics.pixel_auroc: _pixel_auroc,
    metrics.pixel_ap: _pixel_ap,
    metrics.pixel_f1: _pixel_f1,
    metrics.pixel_iou: _pixel_iou,
    metrics.pixel_dice: _pixel_dice,
    metrics.aupro: _aupro,
}
