"""Scoring: exact AUROC over pixels, maps, whole test sets, and the memory that they take."""

import multiprocessing
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from analysis.metrics import image_auroc, pixel_auroc
from cl_flow.features import Features
from cl_flow.score import anomaly_maps, calibrate, score
from tests.benchmarks.conftest import keep
from tests.benchmarks.sizes import SIZES, Size, model_of
from tests.benchmarks.stock import StockLevel, stock_maps, stock_normality

SIDE, SIGMA = 128, 4.0


def images_of(size: Size, n: int, folder: Path) -> Features:
    """Noise as features on file, one image in four anomalous."""
    rng = np.random.default_rng(0)
    for i, (h, w) in enumerate(size.grids):
        values = np.lib.format.open_memmap(folder / f"{i}.npy", "w+", np.float16, (n, h * w, size.dim))
        for start in range(0, n, 64):
            values[start : start + 64] = rng.normal(size=values[start : start + 64].shape)
        values.flush()
    levels = tuple(np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(len(size.grids)))
    samples = pd.DataFrame({"category": "class 0", "label": np.arange(n) % 4 == 0})
    return Features(samples.astype({"label": int}), levels, size.grids, np.arange(n))


def masks_of(labels: np.ndarray) -> np.ndarray:
    """A square defect in each anomalous image."""
    masks = np.zeros((len(labels), SIDE, SIDE), dtype=bool)
    masks[:, 40:70, 50:80] = labels[:, None, None] == 1
    return masks


def test_auroc_of_ten_million_pixels(by_turns, benchmark):
    rng = np.random.default_rng(0)
    masks = rng.random((100, 320, 320)) < 0.03
    maps = (rng.normal(size=masks.shape) + masks).astype(np.float32)
    theirs = roc_auc_score(masks.ravel(), maps.ravel())
    keep(benchmark, "difference", abs(pixel_auroc(masks, maps) - theirs))
    assert abs(pixel_auroc(masks, maps) - theirs) < 1e-12
    by_turns(lambda: pixel_auroc(masks, maps), lambda: roc_auc_score(masks.ravel(), maps.ravel()), rounds=5)


def test_maps_against_image_by_image(by_turns, device):
    """Upsampling and smoothing of 64 images, as two products against two library calls each."""
    size = SIZES["synthetic"]
    levels = [torch.rand(64, h * w, device=device) for h, w in size.grids]

    def theirs() -> np.ndarray:
        total = 0.0
        for values, grid in zip(levels, size.grids):
            up = [
                F.interpolate(v.view(1, 1, *grid), size=(SIDE, SIDE), mode="bilinear", align_corners=True)
                for v in values
            ]
            total = total + torch.cat(up)[:, 0]
        return np.stack([gaussian_filter(one, SIGMA) for one in total.cpu().numpy()])

    by_turns(lambda: anomaly_maps(levels, size.grids, (SIDE, SIDE), SIGMA), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_test_set_against_image_by_image(by_turns, benchmark, one_thread, device, tmp_path, size):
    """From features on file to both AUROCs."""
    size = SIZES[size]
    n = 16 if size.dim == 200 else 128
    model = model_of(size, device)
    model.categories = tuple(f"class {i}" for i in range(model.n_classes))
    features = images_of(size, n, tmp_path)
    labels = features.samples["label"].to_numpy()
    masks, normal = masks_of(labels), features.where(label=0)
    calibration = calibrate(model, normal)
    levels = [StockLevel(level, size.config).to(device) for level in model.levels]

    def ours() -> None:
        maps = score(model, features, calibration, size=(SIDE, SIDE), sigma=SIGMA).product.numpy()
        image_auroc(labels, maps.reshape(n, -1).max(1))
        pixel_auroc(masks, maps)

    def theirs() -> None:
        rows = [[x[i].float().to(device) for x in features.read()] for i in range(n)]
        maps = stock_maps([stock_normality(levels, x, 0) for x in rows], size.grids, SIDE, SIGMA)
        roc_auc_score(labels, maps.reshape(n, -1).max(1))
        roc_auc_score(masks.ravel(), maps.ravel())

    by_turns(ours, theirs, rounds=5)
    benchmark.extra_info["images per second"] = {
        key: n / value for key, value in benchmark.extra_info["seconds"].items()
    }


def peak(features: Features) -> float:
    """Megabytes by which scoring raises a process's peak, beyond the maps themselves."""
    model = model_of(SIZES["synthetic"], torch.device("cpu"))
    few = features.take(range(32))
    calibration = calibrate(model, few.where(label=0))
    score(model, few, calibration, size=(SIDE, SIDE))  # libraries load, and the first batch is allocated
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores = score(model, features, calibration, size=(SIDE, SIDE))
    maps = 2 * scores.logp.nbytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 1024 - maps / 1e6


def test_memory_of_scoring(benchmark, tmp_path):
    """At 8 times the images the peak grows by the maps, which are the result, and what was measured of each patch."""
    sizes = (128, 256, 512, 1024)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = []
        for n in sizes:
            features = images_of(SIZES["synthetic"], n, tmp_path)
            peaks.append(pool.apply(peak, (features,)))
    for n, value in zip(sizes, peaks):
        keep(benchmark, f"MB beyond the maps, {n} images", value)
    benchmark.pedantic(lambda: None)
