"""What every probe measures a model by: AUROC with the image scores behind it, and
intervals of any contrast.
"""

__all__ = ["METRICS", "measure", "scored", "task_of", "true_masks"]

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from analysis import metrics
from cl_flow.data.features import Features
from cl_flow.data.images import image_size, read_mask
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.runs.run import Run
from cl_flow.scoring.scores import PARTS, Scores, calibrate, score


def measure(
    model: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    metric: Sequence[str] = ("image_auroc",),
    part: Sequence[str] = PARTS,
    given: str | None = "category",
    known: Sequence[str] | None = None,
    per_log_k: bool = False,
    calibrate_on: int | None = None,
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """A model's metrics on the test images of some categories, as `analysis.evaluate`
    has them.

    Args:
        model: The model.
        features: Images of every category that the model knows.
        categories: Those to test on.
        metric: Names in `analysis.scoring.METRICS`.
        part: Score parts.
        given: `"category"` or None (routed to the likeliest class).
        known: Categories whose centers enter the entropy; all by default.
        per_log_k: Whether the entropy is divided by ln K.
        calibrate_on: Training images per category that scores are calibrated on; None
            takes all, as `evaluate` does.
        size: Side of the maps in pixels; None is 256.
        sigma: Smoothing of the maps in pixels.

    Returns:
        One row per `category metric part` with its `value`; a row of an image metric
        also holds the `labels` and `scores` (images,) that it was computed from.
    """
    unknown = sorted(set(metric) - set(METRICS))
    if unknown:
        raise KeyError(
            f"Unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}."
        )
    training = features.where(
        split="train", label=0, category=list(categories if given else model.categories)
    )
    if calibrate_on is not None:
        training = training.take(
            training.samples.groupby("category").head(calibrate_on).index
        )
    calibration = calibrate(model, training, known=known, per_log_k=per_log_k)
    rows = []
    for category in categories:
        test = features.where(split="test", category=category)
        scores = score(
            model,
            test,
            calibration,
            given=given,
            known=known,
            per_log_k=per_log_k,
            size=(size or 256,) * 2,
            sigma=sigma,
        )
        rows += [
            (category, key, name, *_value(key, name, test, scores))
            for key in metric
            for name in part
        ]
    return pd.DataFrame(
        rows, columns=["category", "metric", "part", "value", "labels", "scores"]
    )


def _value(
    metric: str, part: str, test: Features, scores: Scores
) -> tuple[float, np.ndarray | None, np.ndarray | None]:
    """The metric; for one of images, also the labels and scores of the images."""
    if not metric.startswith("image"):
        masks = true_masks(test, scores.logp.shape[1:])
        return METRICS[metric](masks, scores.maps(part).numpy()), None, None
    labels, values = test.samples["label"].to_numpy(), scores.image(part).numpy()
    return METRICS[metric](labels, values), labels, values


METRICS: dict[str, Callable[..., float]] = {
    "image_auroc": metrics.image_auroc,
    "image_ap": metrics.image_ap,
    "pixel_auroc": metrics.pixel_auroc,
    "pixel_ap": metrics.pixel_ap,
    "aupro": metrics.aupro,
}


def scored(
    run: Run,
    given: Sequence[str | None],
    normalise: str,
    size: int | None,
    sigma: float,
    steps: Sequence[int] | None = None,
) -> Iterator[tuple[int, str, str | None, Features, Scores]]:
    """Scores of the test images of each category known at each step, under a
    calibration made for that step.
    """
    side = size or min(256, run.config.features.image_size)
    features, device = run.features, pick_device()
    chosen = range(len(run)) if steps is None else [step % len(run) for step in steps]
    for step in tqdm(chosen, desc=f"scoring {run.name}", unit="step", leave=False):
        model = run[step].model(device)
        known = features.where(category=list(model.categories))
        calibration = (
            calibrate(model, known.where(split="train", label=0))
            if normalise == "train"
            else normalise
        )
        for category in model.categories:
            test = known.where(split="test", category=category)
            for choice in given:
                scores = score(
                    model,
                    test,
                    calibration,
                    given=choice,
                    size=(side, side),
                    sigma=sigma,
                )
                yield step, category, choice, test, scores


def task_of(run: Run, category: str) -> int:
    return next(i for i, names in enumerate(run.tasks) if category in names)


def true_masks(test: Features, size: tuple[int, int]) -> np.ndarray:
    """Ground truth (n, H, W) at the size of the maps, by nearest neighbour."""
    return np.stack(
        [
            _mask(*paths, tuple(size))
            for paths in zip(test.samples["image_path"], test.samples["mask_path"])
        ]
    )


@functools.lru_cache(maxsize=4096)
def _mask(image_path: str, mask_path: str, size: tuple[int, int]) -> np.ndarray:
    if not mask_path:
        return np.zeros(size, dtype=bool)
    mask = read_mask(mask_path, image_size(image_path))
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in zip(size, mask.shape))
    return mask[np.ix_(rows.astype(int), columns.astype(int))]
