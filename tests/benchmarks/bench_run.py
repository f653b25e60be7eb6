"""A whole run of five tasks against the reference recipe, from costs per image measured
side by side and added up.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from analysis import study
from analysis.metrics import image_auroc, pixel_auroc
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import load_features
from cl_flow.data.features import Features
from cl_flow.devices import threads
from cl_flow.model.kernels.couplings import reuse_memory
from cl_flow.runs.config import RunConfig
from cl_flow.scoring.scores import calibrate, score
from tests.benchmarks.bench_extraction import enlarged, extraction_sides
from tests.benchmarks.bench_step import our_step, their_step
from tests.benchmarks.conftest import keep, on_a_cpu, turns
from tests.benchmarks.sizes import Size, model_of
from tests.benchmarks.stock import StockLevel, stock_maps, stock_normality

N_TASKS = 5


class Workload(NamedTuple):
    """A run as configured, its numbers of images, and a few of them to measure on."""

    config: RunConfig
    n_train: int
    n_test: int
    samples: pd.DataFrame
    side: int


@pytest.fixture(scope="module", params=["synthetic", "hgad"])
def workload(request, tmp_path_factory) -> Workload:
    """`synthetic` as it is; `hgad` is MVTec AD's number of images under the pyramid of
    EfficientNet-B6.
    """
    folder = tmp_path_factory.mktemp(request.param)
    base = study("synthetic").base
    if request.param == "hgad":
        few = DATASETS["smoke"](folder / "drawn").iloc[:2]
        config = RunConfig(features=FeatureConfig(weights="random"))
        return Workload(config, 3629, 1725, enlarged(few, 1024, folder), 256)
    samples = DATASETS["synthetic"](folder / "drawn")
    n_train = int((samples["split"] == "train").sum())
    return Workload(
        base,
        n_train,
        len(samples) - n_train,
        samples.iloc[:: len(samples) // 64][:64],
        128,
    )


@on_a_cpu
def test_run_against_the_reference_recipe(
    benchmark, by_turns, one_thread, device, workload, tmp_path
):
    """Features once, or anew in every epoch; our step or the stock one; test images
    scored after each task in batches, or each by itself with its features anew; both
    exact AUROCs of every snapshot.

    A test image is scored by every snapshot that knows its category: three times on
    average.
    """
    config, epochs = workload.config, workload.config.train.epochs
    extraction, bare = _extraction(workload, device, tmp_path)
    features = load_features(
        workload.samples,
        config.features,
        root=tmp_path / "0",
        device=device,
        progress=False,
    )
    dims = (config.whiten,) * len(features.dims) if config.whiten else features.dims
    train = config.train
    size = Size(
        dims[0], features.grids, config.flow, train.batch_images, train.batch_patches
    )
    with reuse_memory():
        by_turns(
            our_step(size, device),
            their_step(size, device),
            rounds=2 if workload.side == 256 else 31,
            ratio="step",
        )
    sides = ("seconds", "seconds of the other side")
    step, stock = (
        benchmark.extra_info[key]["value"] / train.batch_images for key in sides
    )
    scoring, singly = _scoring(
        size, _of_width(features, size.dim), device, workload.side
    )
    pixels, sklearn = _auroc(workload)
    snapshots = (N_TASKS + 1) / 2
    ours = {
        "extraction": extraction * (workload.n_train + workload.n_test),
        "training": step * workload.n_train * epochs,
        "scoring": (scoring + pixels) * workload.n_test * snapshots
        + scoring * workload.n_train * snapshots,
    }
    theirs = {
        "extraction": bare * (workload.n_train * epochs + workload.n_test * snapshots),
        "training": stock * workload.n_train * epochs,
        "scoring": (singly + sklearn) * workload.n_test * snapshots,
    }
    for side, parts in (("ours", ours), ("reference recipe", theirs)):
        for part, seconds in parts.items():
            keep(benchmark, f"minutes of {part}, {side}", seconds / 60)
    keep(benchmark, "speedup of a run", sum(theirs.values()) / sum(ours.values()))
    flow = [parts["training"] + parts["scoring"] for parts in (theirs, ours)]
    keep(benchmark, "speedup without extraction", flow[0] / flow[1])


def _extraction(
    workload: Workload, device: torch.device, root: Path
) -> tuple[float, float]:
    """Seconds per image of filling the cache, and of decoding and inferring alone, as
    every epoch then does: the reference recipe is given our way to infer, on every
    core.
    """
    config, samples = workload.config.features, workload.samples
    size = min(len(samples), workload.config.train.batch_images)
    ours, theirs = extraction_sides(samples, config, device, root, size)
    with threads(os.cpu_count() or 1):
        return tuple(np.median(turns(ours, theirs, rounds=2), axis=0) / len(samples))


def _of_width(features: Features, dim: int) -> Features:
    """The features at the width that the flow sees them in."""
    if all(width == dim for width in features.dims):
        return features
    levels = tuple(np.ascontiguousarray(level[..., :dim]) for level in features.levels)
    return Features(features.samples, levels, features.grids, features.rows)


def _scoring(
    size: Size, features: Features, device: torch.device, side: int
) -> tuple[float, float]:
    """Seconds per image from features to maps, in batches and one by one."""
    model = model_of(size, device)
    model.categories = tuple(
        [*features.categories, *map(str, range(model.n_classes))][: model.n_classes]
    )
    everything = features.samples.assign(label=0)
    features = Features(everything, features.levels, features.grids, features.rows)
    calibration = calibrate(model, features)
    levels = [StockLevel(level, size.config).to(device) for level in model.levels]

    def theirs() -> None:
        images = (
            [x[0].float().to(device) for x in features.read([i])]
            for i in range(len(features))
        )
        stock_maps(
            [stock_normality(levels, x, 0) for x in images], size.grids, side, 4.0
        )

    def ours() -> None:
        score(model, features, calibration, size=(side, side))

    return tuple(np.median(turns(ours, theirs), axis=0) / len(features))


def _auroc(workload: Workload) -> tuple[float, float]:
    """Seconds per image of both exact AUROCs."""
    n = 60
    labels = np.arange(n) % 2
    maps = np.random.default_rng(0).random(
        (n, workload.side, workload.side), dtype=np.float32
    )
    masks = np.zeros(maps.shape, dtype=bool)
    masks[labels == 1, 30:50, 30:50] = True

    def both(image: Callable[..., Any], pixel: Callable[..., Any], flat: bool) -> None:
        image(labels, maps.reshape(n, -1).max(1))
        pixel(*(values.ravel() if flat else values for values in (masks, maps)))

    sides = (
        (lambda: both(image_auroc, pixel_auroc, False)),
        (lambda: both(roc_auc_score, roc_auc_score, True)),
    )
    return tuple(np.median(turns(*sides), axis=0) / n)
