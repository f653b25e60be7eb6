"""Detectors that need no flow.

They hold each category's features as a Gaussian, or as a coreset of neighbours.
"""

__all__ = ["DETECTORS", "baselines"]

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import (
    expect_suited,
    of_any_model,
    several_runs,
    table,
)
from analysis.scoring import METRICS, Scoring, is_defined, true_masks
from cl_flow.align import GaussianStats
from cl_flow.calls import checked, refuse_unknown
from cl_flow.data.features import Features
from cl_flow.progress import Bar
from cl_flow.registry import Registry
from cl_flow.runs.run import Run
from cl_flow.scoring.maps import anomaly_maps
from cl_flow.scoring.scores import anomaly_of

DETECTORS: Registry = Registry("detector")
SHRINKAGE = 1e-3
MOST_PATCHES = 40_000  # that a coreset is chosen from
SCORED = ("logp", "product")  # parts that a detector without classes has


class Detector(NamedTuple):
    """Detector of one category and level.

    Args:
        normality: From patches (N, D) to how normal each is (N,).
        n_bytes: What has to be kept for it.
    """

    normality: Callable[[Tensor], Tensor]
    n_bytes: int


@DETECTORS("x_gaussian")
def gaussian(x: Tensor) -> Detector:
    """Log-density log N(x; m, S)/D of one Gaussian.

    Over all positions; PaDiM has one per position.

    References:
        PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and
        Localization (Defard et al., 2021)
        https://arxiv.org/abs/2011.08785
    """
    stats = GaussianStats.of(x)
    return Detector(
        lambda patches: stats.log_prob(patches, shrinkage=SHRINKAGE)[:, 0] / x.shape[1],
        stats.nbytes,
    )


@DETECTORS("x_knn")
def nearest(x: Tensor, *, n: int = 256) -> Detector:
    """Minus the distance to the nearest of 256 patches.

    In units of its median; they are chosen far from each other.

    Of fewer than 2560 patches a tenth is kept.

    References:
        Towards Total Recall in Industrial Anomaly Detection (Roth et al., 2022)
        https://arxiv.org/abs/2106.08265
    """
    some = x[:: -(-len(x) // MOST_PATCHES)]
    coreset = some[_far_apart(some, min(n, -(-len(some) // 10)))]
    unit = torch.cdist(some, coreset).amin(1).median()
    return Detector(
        lambda patches: -torch.cdist(patches, coreset).amin(1) / unit,
        coreset.nbytes // 2,
    )


def _far_apart(x: Tensor, n: int) -> Tensor:
    """Choose rows far from each other, by greedy k-center.

    Each is the farthest from those before it.
    """
    chosen = [0]
    distance = (x - x[0]).square().sum(1)
    for _ in range(n - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)


@checked
@of_any_model
def baselines(
    runs: Run | Iterable[Run],
    *,
    detector: Sequence[str] = ("x_gaussian", "x_knn"),
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """Measure detectors without a flow on the features of runs.

    As `evaluate` tells it.

    How to read it: nothing a category's detector knows is ever touched again, so what
    it scores is the same at every step, and nothing is forgotten. A flow that stays
    below has not earned its keep.

    Args:
        runs: Whose features, tasks and test images are used.
        detector: Names in `DETECTORS`.
        scoring: Metrics and maps; its other fields are not used.

    Returns:
        The columns of `evaluate`, with the detector as `strategy`, and `kept_bytes`
        after the last task. The parts `logp` and `product` are the same: there is no
        entropy.

    Example:
        >>> sorted(set(baselines([run])["strategy"]))
        ['x_gaussian', 'x_knn']
    """
    runs = several_runs(baselines, runs)
    expect_suited(baselines, *runs)
    refuse_unknown("detector", detector, sorted(DETECTORS))
    frame = _detected(runs, detector=tuple(detector), scoring=scoring)
    return frame.assign(strategy=frame.pop("detector"))


@table
@of_any_model
def _detected(
    run: Run,
    *,
    detector: Sequence[str] = (),
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    scoring = scoring.sized(run.config.features.image_size)
    rows = []
    for name in Bar(detector, desc=f"baselines of {run.name}", unit="detector"):
        kept = 0
        values = []
        for task, names in enumerate(run.tasks):
            for category in names:
                images = run.features.where(category=category)
                n_bytes, measured = _test(DETECTORS[name], images, scoring)
                kept += n_bytes
                for metric, value in measured.items():
                    values.append((task, category, metric, value))
        for step in range(len(run.tasks)):
            known = [row for row in values if row[0] <= step]
            for row in known:
                rows += [(name, step, *row, part, kept) for part in SCORED]
    columns = [
        "detector",
        "step",
        "task",
        "category",
        "metric",
        "value",
        "part",
        "kept_bytes",
    ]
    return pd.DataFrame(rows, columns=columns).assign(given="category")


def _test(
    fit: Callable[[Tensor], Detector], images: Features, scoring: Scoring
) -> tuple[int, dict[str, float]]:
    """Bytes kept for one category, and its metrics.

    Scores are made as `cl_flow.scoring` does, by `anomaly_of`.
    """
    train = images.where(split="train", label=0)
    test = images.where(split="test")
    levels = []
    kept = 0
    for i, dim in enumerate(images.dims):
        x = torch.from_numpy(train.levels[i][train.rows]).reshape(-1, dim).float()
        detector = fit(x)
        typical = detector.normality(x).median()
        patches = [batch[i].reshape(-1, dim).float() for batch in test.batches()]
        normality = torch.cat([detector.normality(x) for x in patches])
        levels.append(anomaly_of(normality, typical).view(len(test), -1))
        kept += detector.n_bytes
    side = scoring.side()
    maps = anomaly_maps(levels, images.grids, (side, side), scoring.sigma)
    masks = true_masks(test, (side, side))
    labels = test.samples["label"].to_numpy()
    scores = maps.flatten(1).amax(1).numpy()
    values = {}
    for name in scoring.metric:
        if not is_defined(name, test):
            values[name] = math.nan
        elif name.startswith("image"):
            values[name] = METRICS[name](labels, scores)
        else:
            values[name] = METRICS[name](masks, maps.numpy())
    return kept, values
