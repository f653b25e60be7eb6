"""Scoring: how anomalies are scored and measured, the same for every experiment."""

__all__ = [
    "METRICS",
    "Scored",
    "Scoring",
    "is_defined",
    "measure",
    "scored",
    "short_path",
    "task_of",
    "true_masks",
    "under_true_class",
    "value_of",
]

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from torch import Tensor

from analysis import metrics
from analysis.device_metrics import of_pixels
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.data.images import image_size, read_mask
from cl_flow.devices import pick_device
from cl_flow.identity import settle
from cl_flow.model.base import Model
from cl_flow.model.flow import FlowModel
from cl_flow.model.reconstruction import UniAD
from cl_flow.paths import FileState, file_state
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.residuals import Residuals, score_residuals
from cl_flow.scoring.scores import PARTS, Calibration, Scores, calibrate, score

# Metrics of images take labels and scores (images,), those whose names begin otherwise
# take masks and maps (images, H, W).
METRICS: dict[str, Callable[..., float]] = {
    "image_auroc": metrics.image_auroc,
    "image_ap": metrics.image_ap,
    "image_f1": metrics.image_f1,
    "pixel_auroc": metrics.pixel_auroc,
    "pixel_ap": metrics.pixel_ap,
    "aupro": metrics.aupro,
    "pixel_f1": metrics.pixel_f1,
    "pixel_iou": metrics.pixel_iou,
    "pixel_dice": metrics.pixel_dice,
}
AnyScores = Scores | Residuals
log = logging.getLogger(__name__)

LARGEST_SIDE = 256  # of maps in pixels, unless a size is asked for


@dataclass(frozen=True)
class Scoring:
    """Choice of scores, metrics and maps.

    Where several may stand, one alone may stand by itself.

    Args:
        metric: Names in `METRICS`.
        part: Score parts: `logp`, `entropy`, `product` (HGAD's score, and the one of a
            model that is no flow). All three stand for all that a model has.
        given: `"category"` (the true class is given, as in HGAD), None (routed to the
            likeliest class), or both.
        entropy: Classes that the entropy compares: `"all"` that a model has, as in
            HGAD, or those that came with a category for the first time, its own
            `"task"`, which no later center can change.
        normalise: `"train"` (pointwise) or `"set"` (the published protocol, see
            `cl_flow.scoring.scores`).
        calibrate_on: Training images per category that scores are calibrated on, 1 or
            more; None takes all. `"set"` calibrates on none. A model that reconstructs
            has neither entropy nor calibration.
        size: Side of the maps in pixels; None is the image size, 256 at most.
        sigma: Smoothing of the maps in pixels.

    Raises:
        KeyError: A name that is not known.
        ValueError: A size, a smoothing or a calibration that cannot be.

    Example:
        >>> Scoring(metric="image_auroc", given=None)
        Scoring(metric=('image_auroc',), given=(None,))
        >>> Scoring().side(1024), Scoring().side(128), Scoring(size=64).side(1024)
        (256, 128, 64)
    """

    metric: Sequence[str] = ("image_auroc", "pixel_auroc")
    part: Sequence[str] = PARTS
    given: Sequence[str | None] = ("category",)
    entropy: str = "all"
    normalise: str = "train"
    calibrate_on: int | None = None
    size: int | None = None
    sigma: float = 4.0

    def __post_init__(self) -> None:
        for name in ("metric", "part", "given"):
            object.__setattr__(self, name, _several(getattr(self, name)))
        settle(self, size=(1, math.inf))
        refuse_unknown("metric", self.metric, METRICS)
        refuse_unknown("part", self.part, PARTS)
        refuse_unknown("class", self.given, ("category", None))
        refuse_unknown("entropy", self.entropy, ("all", "task"))
        refuse_unknown("normalisation", self.normalise, ("train", "set"))
        if self.normalise == "set" and self.calibrate_on is not None:
            raise ValueError(
                "Expected normalise='train' with calibrate_on, since 'set' has no "
                f"training images; got calibrate_on={self.calibrate_on}."
            )

    def parts_of(self, scores: AnyScores) -> Sequence[str]:
        """Parts to measure: those named, or all that there are where all are."""
        return scores.parts if set(self.part) == set(PARTS) else self.part

    @property
    def known(self) -> str | None:
        """What `score` takes as `known`."""
        return None if self.entropy == "all" else self.entropy

    def side(self, image_side: int = LARGEST_SIDE) -> int:
        """Side of the maps in pixels, for images of a side."""
        return self.size or min(LARGEST_SIDE, image_side)

    def sized(self, image_side: int) -> "Scoring":
        """Same scoring, with maps of a size that suits the images."""
        return dataclasses.replace(self, size=self.side(image_side))

    def __repr__(self) -> str:
        defaults = type(self).__dataclass_fields__
        values = {name: getattr(self, name) for name in defaults}
        told = [
            f"{name}={value!r}"
            for name, value in values.items()
            if value != defaults[name].default
        ]
        return f"Scoring({', '.join(told)})"


def _several(value: Any) -> Any:
    """Several names where one stands alone; what is no name is refused later."""
    if value is None or isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) else value


def under_true_class(scoring: Scoring) -> Scoring:
    """Same scoring under the true class alone.

    Raises:
        ValueError: A scoring that leaves the true class out, where nothing else is
            measured.
    """
    if "category" not in scoring.given:
        raise ValueError(
            "Expected given='category' in a scoring, since this is measured under the "
            f"true class; got given={scoring.given}. `evaluate` takes given=None."
        )
    return dataclasses.replace(scoring, given="category")


# ---- one model


def measure(
    model: Model,
    features: Features,
    categories: Sequence[str],
    *,
    scoring: Scoring = Scoring(metric="image_auroc"),
    given: str | None = "category",
    known: Sequence[str] | None = None,
    per_log_k: bool = False,
) -> pd.DataFrame:
    """Metrics of a model on the test images of some categories.

    They are what `evaluate` has of a snapshot.

    Args:
        model: The model.
        features: Images of every category that the model knows.
        categories: Those to test on.
        scoring: Metrics, parts and maps; `given` is decided by the next argument.
        given: `"category"` or None (routed to the likeliest class).
        known: Categories whose centers enter the entropy; all by default.
        per_log_k: Whether the entropy is divided by ln K.

    Returns:
        One row per `category metric part` with its `value`; a row of an image metric
        also holds the `labels` and `scores` (images,) that it was computed from.

    Raises:
        ValueError: Both `known` and a scoring that decides it, or a scoring that is
            told no class where the caller scores under the true one.
    """
    if given is not None:
        under_true_class(scoring)
    if known is not None and scoring.known is not None:
        raise ValueError(
            "Expected entropy='all' in a scoring whose classes are decided here; got "
            f"{scoring.entropy!r}."
        )
    among = scoring.known if known is None else known
    calibrated = features.where(
        category=list(categories if given else model.categories)
    )
    scores_of = _scorer(
        model, calibrated, scoring, scoring.side(), known=among, per_log_k=per_log_k
    )
    rows = []
    for category in categories:
        test = features.where(split="test", category=category)
        scores = scores_of(test, given=given)
        for metric in scoring.metric:
            for part in scoring.parts_of(scores):
                value = value_of(metric, part, test, scores)
                rows.append((category, metric, part, *value))
    columns = ["category", "metric", "part", "value", "labels", "scores"]
    return pd.DataFrame(rows, columns=columns)


def _scorer(
    model: Model,
    images: Features,
    scoring: Scoring,
    side: int,
    *,
    known: Sequence[str] | str | None,
    per_log_k: bool = False,
) -> Callable[..., AnyScores]:
    """Function of images and `given` that scores them, calibrated where a flow does."""
    maps = {"size": (side, side), "sigma": scoring.sigma}
    if isinstance(model, UniAD):
        return functools.partial(score_residuals, model, **maps)
    flow = cast(FlowModel, model)
    among = {"known": known, "per_log_k": per_log_k}
    calibration = _calibration(flow, images, scoring, **among)
    return functools.partial(score, flow, calibration=calibration, **among, **maps)


def _calibration(
    model: FlowModel,
    images: Features,
    scoring: Scoring,
    *,
    known: Sequence[str] | str | None = None,
    per_log_k: bool = False,
) -> Calibration | str:
    """Calibration that a scoring asks for, as `score` takes it."""
    if scoring.normalise == "set":
        return "set"
    training = _reference(images, scoring)
    return calibrate(model, training, known=known, per_log_k=per_log_k)


def _reference(images: Features, scoring: Scoring) -> Features:
    """Normal training images to calibrate on.

    All, or the first few of a category.
    """
    training = images.where(split="train", label=0)
    if scoring.calibrate_on is None:
        return training
    few = training.samples.groupby("category").head(scoring.calibrate_on)
    return training.take(few.index)


def value_of(
    metric: str, part: str, test: Features, scores: AnyScores
) -> tuple[float, np.ndarray | None, np.ndarray | None]:
    """Value of a metric; NaN where the test images do not allow it.

    For one of images, also their labels and scores.
    """
    if not is_defined(metric, test):
        return math.nan, None, None
    if not metric.startswith("image"):
        return _of_pixels(metric, test, scores.maps(part)), None, None
    labels = test.samples["label"].to_numpy()
    values = scores.image(part).cpu().numpy()
    return METRICS[metric](labels, values), labels, values


def _of_pixels(metric: str, test: Features, maps: Tensor) -> float:
    """Value of a metric of pixels; NaN where every mask is black."""
    height, width = maps.shape[1:]
    masks = true_masks(test, (height, width))
    if not masks.any():
        for category in test.categories:
            _tell_once(category, "white pixel in its masks: its metrics of pixels are")
        return math.nan
    return of_pixels(METRICS[metric], masks, maps)


def is_defined(metric: str, test: Features) -> bool:
    """Whether test images allow a metric; what they lack is told, once.

    One of images needs normal and anomalous ones, one of pixels anomalous ones with
    their masks.
    """
    samples = test.samples
    ill = samples["label"] == 1
    is_of_images = metric.startswith("image")
    lacks = "" if ill.any() else "anomalous test images: its metrics are"
    if not lacks and is_of_images and ill.all():
        lacks = "normal test images: its metrics of images are"
    if not lacks and not is_of_images and (samples.loc[ill, "mask_path"] == "").any():
        lacks = "mask of some anomalous test images: its metrics of pixels are"
    for category in test.categories if lacks else ():
        _tell_once(category, lacks)
    return not lacks


@functools.cache
def _tell_once(category: str, lacks: str) -> None:
    log.warning(
        "%s has no %s NaN, and a task's mean is over its other categories",
        category,
        lacks,
    )


# ---- every snapshot of a run


class Scored(NamedTuple):
    """Scores of one category's test images at one step.

    Args:
        step: Index of the last task learned.
        category: The category.
        given: `"category"` or None.
        test: Its test images.
        scores: Their scores.
    """

    step: int
    category: str
    given: str | None
    test: Features
    scores: AnyScores


def scored(
    run: Run,
    scoring: Scoring,
    *,
    steps: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
) -> Iterator[Scored]:
    """Scores of the test images of each category known at each step.

    The calibration is made for that step.

    Args:
        run: The run.
        scoring: How to score.
        steps: Indices of the last task learned; all by default.
        categories: Those to score; all that a step knows by default.
    """
    side = scoring.side(run.config.features.image_size)
    features = run.features
    chosen = range(len(run)) if steps is None else [step % len(run) for step in steps]
    for step in Bar(chosen, desc=f"scoring {run.name}", unit="step"):
        tested = [
            name
            for name in run[step].categories
            if categories is None or name in categories
        ]
        if not tested:
            continue
        model = run[step].model(pick_device())
        # Routing scores an image under any class.
        needed = model.categories if None in scoring.given else tested
        known = features.where(category=list(needed))
        scores_of = _scorer(model, known, scoring, side, known=scoring.known)
        for category in tested:
            test = known.where(split="test", category=category)
            for given in scoring.given:
                scores = scores_of(test, given=given)
                yield Scored(step, category, given, test, scores)


def task_of(run: Run, category: str) -> int:
    """Index of the task that a category arrives with."""
    return next(i for i, names in enumerate(run.tasks) if category in names)


def short_path(path: str) -> str:
    """Last folder and name of an image's file."""
    return "/".join(Path(path).parts[-2:])


# ---- ground truth


def true_masks(test: Features, size: tuple[int, int]) -> np.ndarray:
    """Ground truth (n, H, W) at the size of the maps.

    A pixel of a map is defective where any pixel of the mask beneath it is: no defect
    is too small to be counted.
    """
    paths = zip(test.samples["image_path"], test.samples["mask_path"])
    masks = [  # of a normal image nothing is read
        _mask(image, mask, tuple(size), file_state(mask))
        if mask
        else np.zeros(size, dtype=bool)
        for image, mask in paths
    ]
    return np.stack(masks)


@functools.lru_cache(maxsize=4096)
def _mask(
    image_path: str,
    mask_path: str,
    size: tuple[int, int],
    state: FileState,
) -> np.ndarray:
    """Mask of an image at a size, read once for each state of its file."""
    mask = read_mask(mask_path, image_size(image_path))
    for axis, n in enumerate(size):
        mask = _any_along(mask, n, axis)
    return mask


def _any_along(mask: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Mask with n pixels along an axis; of those that share one, any is enough."""
    n_before = mask.shape[axis]
    if n > n_before:
        centers = (np.arange(n) + 0.5) * n_before / n
        return mask.take(centers.astype(int), axis)
    begins = np.arange(n) * n_before // n
    return np.logical_or.reduceat(mask, begins, axis)
