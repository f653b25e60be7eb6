"""Scores: anomaly maps of HGAD's two factors and of their product.

A calibration makes classes and levels comparable.
"""

__all__ = ["Calibration", "PARTS", "Scores", "anomaly_of", "calibrate", "score"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.calls import checked, refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread
from cl_flow.model.flow import FlowModel
from cl_flow.scoring.maps import anomaly_maps, maps_of_set
from cl_flow.scoring.normality import Certainty, normality_of

PARTS = ("logp", "entropy", "product")


@dataclass(frozen=True)
class Calibration:
    """Typical normality of each class, level and factor (K, L, 2).

    The median over normal training patches.

    The two factors are log p(x|y)/D and Σ p log p. A class that was never measured
    holds NaN.
    """

    values: Tensor


@dataclass(frozen=True)
class Scores:
    """Anomaly maps of images, higher is more anomalous.

    Args:
        logp: Maps of the likelihood factor (n, H, W), where the model is.
        entropy: Maps of the entropy factor (n, H, W).
        classes: The class id that each image was scored under (n,), on the CPU.
    """

    logp: Tensor
    entropy: Tensor
    classes: Tensor

    parts: ClassVar[tuple[str, ...]] = PARTS

    @property
    def product(self) -> Tensor:
        """HGAD's score: the product of both factors (n, H, W)."""
        return self.logp * self.entropy

    def maps(self, part: str) -> Tensor:
        """Maps (n, H, W) of one part of `PARTS`."""
        refuse_unknown("part", part, PARTS)
        return getattr(self, part)

    def image(self, part: str) -> Tensor:
        """Image scores (n,): the maximum of each map."""
        pixels = self.maps(part).flatten(1)
        return pixels.amax(1)


@checked
@torch.inference_mode()
@one_thread
def calibrate(
    model: FlowModel,
    reference: Features,
    *,
    known: Sequence[str] | str | None = None,
    per_log_k: bool = False,
) -> Calibration:
    """Measure the typical normality of each class's training patches.

    Args:
        model: The model that will score.
        reference: Normal training images of the classes to calibrate, or their latents
            under this model's flow.
        known: Categories whose centers enter the entropy; all by default, or `"task"`:
            those that arrived with the class an image is scored under.
        per_log_k: Whether the entropy is divided by ln K, its largest value among the K
            classes that enter it.

    Raises:
        ValueError: The reference holds anomalous images, or test images.

    Example:
        >>> model, features = run[-1].model(), run.features
        >>> category = run.tasks[0][0]
        >>> normal = features.where(split="train", label=0, category=category)
        >>> calibrate(model, normal).values.shape
        torch.Size([6, 2, 2])
    """
    samples = reference.samples
    if samples["label"].any() or (
        "split" in samples and "test" in set(samples["split"])
    ):
        raise ValueError(
            "Expected normal images of training to calibrate with; got anomalous or "
            'test images among them: features.where(split="train", label=0).'
        )
    certainty = Certainty.among(model, known, per_log_k=per_log_k)
    shape = (model.n_classes, len(model.levels), 2)
    values = torch.full(shape, math.nan)
    for category in reference.categories:
        images = reference.where(category=category)
        (y,) = model.class_ids([category]).tolist()
        factors, _ = normality_of(model, images, certainty, given="category")
        typical = []
        for level in factors:
            by_factor = level.transpose(0, 1).flatten(1)
            median = by_factor.median(1).values
            typical.append(median)
        values[y] = torch.stack(typical)
    return Calibration(values)


@checked
@torch.inference_mode()
@one_thread
def score(
    model: FlowModel,
    features: Features,
    calibration: Calibration | str,
    *,
    given: str | None = "category",
    known: Sequence[str] | str | None = None,
    per_log_k: bool = False,
    size: tuple[int, int] = (128, 128),
    sigma: float = 4.0,
) -> Scores:
    """Anomaly maps of every image.

    Per level the normality s = log p(x|y)/D (and s = Σ_k p_k log p_k) becomes an
    anomaly log(1 + exp(c − s)), where c is the median of s over normal training patches
    (`anomaly_of`). It is upsampled bilinearly, summed over levels and smoothed by a
    Gaussian. The published protocol takes 1 − exp(s − c) with c the maximum over the
    images at hand, and flips the sum at its own maximum.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly
        detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        model: The model.
        features: Images to score, or their latents under this model's flow.
        calibration: From `calibrate`: the score of a patch then depends on nothing but
            the patch and the model. Or `"set"`, the published protocol: maxima over the
            images scored here, so a score depends on its companions.
        given: `"category"` scores each image under its true class, as HGAD does; None
            under the class of highest likelihood.
        known: Categories whose centers enter the entropy; as in the calibration.
        per_log_k: Whether the entropy is divided by ln K; as in the calibration.
        size: Height and width of the maps in pixels.
        sigma: Standard deviation of the smoothing in pixels of the map.

    Example:
        >>> model, features = run[-1].model(), run.features
        >>> images = features.where(category=run.tasks[0][0])
        >>> normal = images.where(split="train", label=0)
        >>> test = images.where(split="test")
        >>> scores = score(model, test, calibrate(model, normal), size=(32, 32))
        >>> scores.product.shape
        torch.Size([9, 32, 32])
    """
    if given not in ("category", None):
        raise ValueError(f"Expected given='category' or None; got {given!r}.")
    if not (calibration == "set" or isinstance(calibration, Calibration)):
        raise ValueError(f"Expected a Calibration or 'set'; got {calibration!r}.")
    certainty = Certainty.among(model, known, per_log_k=per_log_k)
    levels, classes = normality_of(model, features, certainty, given=given)
    to_maps = maps_of_set
    if isinstance(calibration, Calibration):
        expected = (model.n_classes, len(model.levels), 2)
        if tuple(calibration.values.shape) != expected:
            raise ValueError(
                f"Expected a calibration of this model, {expected}; got that of "
                f"another, {tuple(calibration.values.shape)}: calibrate(model, ...)."
            )
        levels = _calibrated(model, levels, classes, calibration)
        to_maps = anomaly_maps
    maps = []
    for factor in (0, 1):
        values = [level[:, factor] for level in levels]
        maps.append(to_maps(values, model.grids, size, sigma))
    logp, entropy = maps
    return Scores(logp, entropy, classes)


def _calibrated(
    model: FlowModel,
    factors: list[Tensor],
    classes: Tensor,
    calibration: Calibration,
) -> list[Tensor]:
    """Anomaly of every patch in both factors (n, 2, S), per level."""
    typical = calibration.values[classes]
    unknown = typical.isnan().flatten(1).any(1)
    if unknown.any():
        names = {model.categories[k] for k in classes[unknown].tolist()}
        missing = ", ".join(sorted(names))
        raise ValueError(
            f"Expected a calibration of every class scored; got none of {missing}."
        )
    anomalies = []
    for i, level in enumerate(factors):
        usual = typical[:, i, :, None].to(level)
        anomalies.append(anomaly_of(level, usual))
    return anomalies


def anomaly_of(normality: Tensor, usual: Tensor) -> Tensor:
    """Anomaly log(1 + exp(c − s)) of normalities s; larger is more anomalous.

    It is −log of the posterior that a patch is normal, against a uniform alternative as
    dense as a typical normal patch. The posterior of the alternative, 1/(1 + exp(s −
    c)), orders patches alike, but in single precision all that lie 17 below c are at 1.

    Args:
        normality: Normalities s, of any shape.
        usual: Typical normalities c, broadcast against them.

    Example:
        >>> anomaly_of(torch.tensor([0.0, -20.0, -40.0]), torch.tensor(0.0))
        tensor([ 0.6931, 20.0000, 40.0000])
    """
    return F.softplus(usual - normality)
