"""From a model and features to anomaly maps: HGAD's two factors, their product, and how they are made comparable."""

__all__ = ["PARTS", "Calibration", "Scores", "anomaly_maps", "calibrate", "score"]

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from cl_flow.features import Features
from cl_flow.flow import FlowModel, Level
from cl_flow.latents import through
from cl_flow.threads import one_thread
from cl_flow.views import views

PARTS = ("logp", "entropy", "product")

Batch = list[Tensor] | list[tuple[Tensor, Tensor]]  # per level patches, or latents and their log-determinants


@dataclass(frozen=True)
class Calibration:
    """The typical (median) normality of each class, level and factor over normal training patches: (K, L, 2).

    The two factors are log p(x|y)/D and Σ p log p. A class that was never measured holds NaN.
    """

    values: Tensor


@dataclass(frozen=True)
class Scores:
    """Anomaly maps of images, higher is more anomalous.

    Args:
        logp: Maps of the likelihood factor (n, H, W), float32 on the CPU.
        entropy: Maps of the entropy factor (n, H, W).
        classes: The class id that each image was scored under (n,).
    """

    logp: Tensor
    entropy: Tensor
    classes: Tensor

    @property
    def product(self) -> Tensor:
        """HGAD's score: the product of both factors (n, H, W)."""
        return self.logp * self.entropy

    def maps(self, part: str) -> Tensor:
        """Maps (n, H, W) of one part of `PARTS`."""
        if part not in PARTS:
            raise KeyError(f"Unknown part {part!r}; known: {', '.join(PARTS)}.")
        return getattr(self, part)

    def image(self, part: str) -> Tensor:
        """Image scores (n,): the maximum of each map."""
        return self.maps(part).flatten(1).amax(1)


@torch.inference_mode()
@one_thread
def calibrate(
    model: FlowModel, reference: Features, *, known: Sequence[str] | None = None, per_log_k: bool = False
) -> Calibration:
    """How normal the normal training patches of each class typically are, under this model.

    Args:
        model: The model that will score.
        reference: Normal training images of the classes to calibrate, or their latents under this model's flow.
        known: Categories whose centers enter the entropy; all by default.
        per_log_k: Whether the entropy is divided by ln K, its largest value among the K classes that enter it.

    Raises:
        ValueError: The reference holds anomalous images.
    """
    if reference.samples["label"].any():
        raise ValueError("Expected normal images to calibrate with; got anomalous ones among them.")
    values = torch.full((model.n_classes, len(model.levels), 2), math.nan)
    for category in reference.categories:
        images = reference.where(category=category)
        (y,) = model.class_ids([category]).tolist()
        factors, _ = _all_factors(model, images, "category", known, per_log_k)
        values[y] = torch.stack([level.transpose(0, 1).flatten(1).median(1).values for level in factors])
    return Calibration(values)


@torch.inference_mode()
@one_thread
def score(
    model: FlowModel,
    features: Features,
    calibration: Calibration | str,
    *,
    given: str | None = "category",
    known: Sequence[str] | None = None,
    per_log_k: bool = False,
    size: tuple[int, int] = (128, 128),
    sigma: float = 4.0,
) -> Scores:
    """Anomaly maps of every image.

    Per level the normality s = log p(x|y)/D (and s = Σ_k p_k log p_k) becomes an anomaly 1/(1 + exp(s − c)), where c is
    the median of s over normal training patches: the posterior of a uniform alternative as dense as a typical normal
    patch. It is upsampled bilinearly, summed over levels and smoothed by a Gaussian. The published protocol takes
    1 − exp(s − c) with c the maximum over the images at hand, and flips the sum at its own maximum.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        model: The model.
        features: Images to score, or their latents under this model's flow.
        calibration: From `calibrate`: the score of a patch then depends on nothing but the patch and the model. Or
            `"set"`, the published protocol: maxima over the images scored here, so a score depends on its companions.
        given: `"category"` scores each image under its true class, as HGAD does; None under the class of highest
            likelihood.
        known: Categories whose centers enter the entropy; all by default.
        per_log_k: Whether the entropy is divided by ln K; as in the calibration.
        size: Height and width of the maps in pixels.
        sigma: Standard deviation of the smoothing in pixels of the map.
    """
    if given not in ("category", None):
        raise ValueError(f"Expected given='category' or None; got {given!r}.")
    if not (calibration == "set" or isinstance(calibration, Calibration)):
        raise ValueError(f"Expected a Calibration or 'set'; got {calibration!r}.")
    factors, classes = _all_factors(model, features, given, known, per_log_k)
    if calibration == "set":
        maps = [_maps_of_set([level[:, f] for level in factors], model.grids, size, sigma) for f in (0, 1)]
    else:
        anomalies = _calibrated(model, factors, classes, calibration)
        maps = [anomaly_maps([level[:, f] for level in anomalies], model.grids, size, sigma) for f in (0, 1)]
    return Scores(*maps, classes)


# ---- normality of patches


def _all_factors(
    model: FlowModel, features: Features, given: str | None, known: Sequence[str] | None, per_log_k: bool
) -> tuple[list[Tensor], Tensor]:
    """Per level both factors of every image (n, 2, S), and the class of each image (n,)."""
    ids = None if given is None else model.class_ids(list(features.samples["category"]))
    parts = views(model)
    factors, classes = [], []
    for i, batch in enumerate(features.batches()):
        y = _route(parts, batch) if ids is None else ids[32 * i : 32 * i + 32]
        factors.append(_factors_of(parts, batch, y, known, per_log_k))
        classes.append(y)
    return [torch.cat(level) for level in zip(*factors)], torch.cat(classes).cpu()


def _factors_of(
    parts: Sequence[tuple[FlowModel, Tensor]], batch: Batch, y: Tensor, known: Sequence[str] | None, per_log_k: bool
) -> list[Tensor]:
    """`_factors` of every image under the view of its class."""
    if len(parts) == 1:
        return _factors(parts[0][0], batch, y, known, per_log_k)
    out = [torch.empty(len(y), 2, len(level.codes), device=y.device) for level in parts[0][0].levels]
    for model, classes in parts:
        mine = torch.isin(y, classes)
        if mine.any():
            values = _factors(model, [_chosen(x, mine.cpu()) for x in batch], y[mine], known, per_log_k)
            for level, part in zip(out, values):
                level[mine] = part
    return out


def _chosen(x: Tensor | tuple[Tensor, Tensor], images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    return tuple(values[images] for values in x) if isinstance(x, tuple) else x[images]


def _factors(model: FlowModel, batch: Batch, y: Tensor, known: Sequence[str] | None, per_log_k: bool) -> list[Tensor]:
    """Per level log p(x|y)/D and Σ p log p of a batch, stacked (n, 2, S)."""
    classes = None if known is None else model.class_ids(known)
    n_classes = model.n_classes if known is None else len(known)
    unit = math.log(n_classes) if per_log_k and n_classes > 1 else 1.0  # a single class has no entropy to divide
    out = []
    for level, x in zip(model.levels, batch):
        z, log_det = through(level, x, y)
        logp = (level.mixture.log_prob(z, y) + log_det) / level.dim
        certainty = level.mixture.negentropy(z, classes=classes) / unit
        out.append(torch.stack([f.view(len(y), -1) for f in (logp, certainty)], 1))
    return out


def _route(parts: Sequence[tuple[FlowModel, Tensor]], batch: Batch) -> Tensor:
    """The class of highest mean log-likelihood per image (n,)."""
    return torch.cat([_likelihoods(model, batch, classes) for model, classes in parts], 1).argmax(1)


def _likelihoods(model: FlowModel, batch: Batch, classes: Tensor) -> Tensor:
    """log p(x|k)/D of the given classes (n, K), means over patches summed over levels."""
    total = 0.0
    for level, x in zip(model.levels, batch):
        if level.class_codes is None:
            z, log_det = through(level, x)
            logp = level.mixture.log_prob_each(z)[:, classes] + log_det[:, None]
        else:
            logp = torch.stack([_given_class(level, x, k[None]) for k in classes], 1)
        total = total + logp.view(-1, len(level.codes), len(classes)).mean(1) / level.dim
    return total


def _given_class(level: Level, x: Tensor, y: Tensor) -> Tensor:
    z, log_det = through(level, x, y)
    return level.mixture.log_prob(z, y) + log_det


# ---- from normality to maps


def _calibrated(model: FlowModel, factors: list[Tensor], classes: Tensor, calibration: Calibration) -> list[Tensor]:
    """Per level the anomaly of every patch in both factors (n, 2, S)."""
    typical = calibration.values[classes]
    if typical.isnan().any():
        missing = sorted({model.categories[k] for k in classes[typical.isnan().any(-1).any(-1)].tolist()})
        raise ValueError(f"Expected a calibration of every class scored; got none of {', '.join(missing)}.")
    return [torch.sigmoid(typical[:, i, :, None].to(level) - level) for i, level in enumerate(factors)]


def anomaly_maps(levels: list[Tensor], grids: Sequence[tuple[int, int]], size: tuple[int, int], sigma: float) -> Tensor:
    """Patch scores (n, S) per level as maps: upsampled, summed over levels, smoothed (n, H, W), on the CPU.

    One small matrix per side does the first and the last, where the scores are; beside the maps themselves it takes
    memory for a few images.
    """
    maps = torch.empty(len(levels[0]), *size)
    sides = [[_resampler(*side, sigma).to(values) for side in zip(grid, size)] for values, grid in zip(levels, grids)]
    for start in range(0, len(maps), 32):
        total = 0.0
        for values, grid, (rows, columns) in zip(levels, grids, sides):
            total = total + rows @ values[start : start + 32].reshape(-1, *grid) @ columns.T
        maps[start : start + 32] = total
    return maps


def _maps_of_set(levels: list[Tensor], grids: Sequence[tuple[int, int]], size: tuple[int, int], sigma: float) -> Tensor:
    anomaly = [-torch.expm1(values - values.max()) for values in levels]  # precise near 0, where entropies lie
    return anomaly_maps(anomaly, grids, size, sigma) - anomaly_maps(anomaly, grids, size, 0.0).min()


@cache
def _resampler(n_in: int, n_out: int, sigma: float) -> Tensor:
    """The matrix (n_out, n_in) of bilinear upsampling (corners aligned) followed by a Gaussian; its rows sum to 1."""
    eye = torch.eye(n_in, dtype=torch.float64)[:, None]
    up = F.interpolate(eye, size=n_out, mode="linear", align_corners=True)[:, 0].numpy()
    smooth = gaussian_filter1d(up, sigma, axis=1) if sigma else up
    return torch.as_tensor(smooth.T.copy(), dtype=torch.float32)
