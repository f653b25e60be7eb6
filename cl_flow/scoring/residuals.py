"""Residuals: anomaly maps of a model that reconstructs features."""

__all__ = ["Residuals", "score_residuals"]

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.calls import checked
from cl_flow.data.features import Features
from cl_flow.devices import one_thread
from cl_flow.model.reconstruction.uniad import UniAD
from cl_flow.scoring.maps import anomaly_maps

POOLED = 14  # of the map's side, by side of a square: 16 pixels of 224


@dataclass(frozen=True)
class Residuals:
    """Anomaly maps of images by what their reconstruction lacks.

    They have one part, the model's score, under the name that a flow's has: `product`.

    Args:
        product: Maps of ‖reconstruction − tokens‖ (n, H, W), where the model is.
        pooled: Image scores (n,).
        classes: The class id that each image was scored under (n,), on the CPU; the
            score does not depend on it.
    """

    product: Tensor
    pooled: Tensor
    classes: Tensor

    parts: ClassVar[tuple[str, ...]] = ("product",)

    def maps(self, part: str) -> Tensor:
        """Maps (n, H, W)."""
        self._refuse(part)
        return self.product

    def image(self, part: str) -> Tensor:
        """Image scores (n,): the largest mean of a square of the unsmoothed map."""
        self._refuse(part)
        return self.pooled

    def _refuse(self, part: str) -> None:
        if part not in self.parts:
            raise ValueError(
                "Expected part='product', the one score of a model that reconstructs; "
                f"got {part!r}, which is a flow's."
            )


@checked
@torch.inference_mode()
@one_thread
def score_residuals(
    model: UniAD,
    features: Features,
    *,
    given: str | None = "category",
    size: tuple[int, int] = (128, 128),
    sigma: float = 4.0,
) -> Residuals:
    """Anomaly maps of every image under a model that reconstructs.

    A token's residual ‖reconstruction − token‖ is upsampled bilinearly and smoothed by
    a Gaussian, as a flow's anomalies are; published, pixels are not smoothed. The score
    of an image is the maximum of the unsmoothed map's means over squares of a
    fourteenth of its side, 16 pixels of 224. There is nothing to calibrate: residuals
    are of one unit, and an AUROC within a category asks for no more.

    References:
        A unified model for multi-class anomaly detection (You et al., 2022)
        https://arxiv.org/abs/2206.03687

    Args:
        model: The model.
        features: Images to score.
        given: `"category"` notes each image's true class, None the one it is taken for,
            by a model that tells classes apart.
        size: Height and width of the maps in pixels.
        sigma: Standard deviation of the smoothing in pixels of the map.

    Raises:
        ValueError: `given=None`, and nothing in the model tells classes apart.
    """
    if given not in ("category", None):
        raise ValueError(f"Expected given='category' or None; got {given!r}.")
    classes = model.class_ids(list(features.samples["category"]))
    values, routed = [], []
    for batch in features.batches():
        tokens = model.tokens(batch)
        values.append(model.residuals(tokens))
        if given is None:
            routed.append(model.routed(tokens))
    side = model.config.side
    levels, grids = [torch.cat(values)], [(side, side)]
    unsmoothed = anomaly_maps(levels, grids, size, 0.0)
    square = [max(1, n // POOLED) for n in size]
    pooled = F.avg_pool2d(unsmoothed[:, None], square, stride=1).amax((1, 2, 3))
    maps = anomaly_maps(levels, grids, size, sigma)
    return Residuals(maps, pooled, torch.cat(routed or [classes]).cpu())
