"""Scoring: exact AUROC over pixels, maps, whole test sets, and the memory that they
take.
"""

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from analysis.device_metrics import of_pixels
from analysis.metrics import aupro, image_auroc, pixel_auroc
from cl_flow.data.features import Features
from cl_flow.scoring.maps import anomaly_maps
from cl_flow.scoring.scores import calibrate, score
from tests.benchmarks.conftest import keep, on_a_cpu, on_a_gpu
from tests.benchmarks.sizes import SIZES, Size, model_of
from tests.benchmarks.stock import StockLevel, stock_maps, stock_normality

SIDE, SIGMA = 128, 4.0


def images_of(size: Size, n: int, folder: Path) -> Features:
    """Noise as features on file, one image in four anomalous."""
    rng = np.random.default_rng(0)
    for i, (h, w) in enumerate(size.grids):
        values = np.lib.format.open_memmap(
            folder / f"{i}.npy", "w+", np.float16, (n, h * w, size.dim)
        )
        for start in range(0, n, 64):
            values[start : start + 64] = rng.normal(
                size=values[start : start + 64].shape
            )
        values.flush()
    return images_at(folder, size)


def images_at(folder: Path, size: Size) -> Features:
    """What `images_of` wrote."""
    levels = tuple(
        np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(len(size.grids))
    )
    n = len(levels[0])
    samples = pd.DataFrame(
        {"category": "class 0", "label": (np.arange(n) % 4 == 0).astype(int)}
    )
    return Features(samples, levels, size.grids, np.arange(n))


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
    by_turns(
        lambda: pixel_auroc(masks, maps),
        lambda: roc_auc_score(masks.ravel(), maps.ravel()),
        rounds=5,
    )


@on_a_gpu
@pytest.mark.parametrize(
    "metric", [pixel_auroc, aupro], ids=lambda metric: metric.__name__
)
def test_pixels_on_the_card(by_turns, benchmark, device, metric):
    """Ten million pixels whose maps are on the card, and the masks are not."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4 == 0
    masks = np.zeros((160, 256, 256), dtype=bool)
    masks[labels, 80:120, 100:160] = True
    maps = torch.from_numpy((rng.normal(size=masks.shape) + masks).astype(np.float32))
    there = maps.to(device)
    difference = abs(of_pixels(metric, masks, there) - metric(masks, maps.numpy()))
    keep(benchmark, "difference", difference)
    assert difference < 1e-9
    by_turns(
        lambda: of_pixels(metric, masks, there),
        lambda: metric(masks, there.cpu().numpy()),
        rounds=1,
    )


def test_maps_against_image_by_image(by_turns, device):
    """Upsampling and smoothing of 64 images, as two products against two library calls
    each.
    """
    size = SIZES["synthetic"]
    levels = [torch.rand(64, h * w, device=device) for h, w in size.grids]

    def theirs() -> np.ndarray:
        total = 0.0
        for values, grid in zip(levels, size.grids):
            up = [
                F.interpolate(
                    v.view(1, 1, *grid),
                    size=(SIDE, SIDE),
                    mode="bilinear",
                    align_corners=True,
                )
                for v in values
            ]
            total = total + torch.cat(up)[:, 0]
        return np.stack([gaussian_filter(one, SIGMA) for one in total.cpu().numpy()])

    by_turns(lambda: anomaly_maps(levels, size.grids, (SIDE, SIDE), SIGMA), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_test_set_against_image_by_image(
    by_turns, benchmark, one_thread, device, tmp_path, size
):
    """From features on file to both AUROCs."""
    size = SIZES[size]
    n = 16 if size.dim == 200 else 128
    model = model_of(size, device)
    features = images_of(size, n, tmp_path)
    labels = features.samples["label"].to_numpy()
    masks = masks_of(labels)
    levels = [StockLevel(level, size.config).to(device) for level in model.levels]

    def ours() -> None:
        scores = score(model, features, "set", size=(SIDE, SIDE), sigma=SIGMA)
        image_auroc(labels, scores.image("product").cpu().numpy())
        of_pixels(pixel_auroc, masks, scores.product)

    def theirs() -> None:
        images = (
            [x[0].float().to(device) for x in features.read([i])] for i in range(n)
        )
        maps = stock_maps(
            [stock_normality(levels, x, 0) for x in images], size.grids, SIDE, SIGMA
        )
        roc_auc_score(labels, maps.reshape(n, -1).max(1))
        roc_auc_score(masks.ravel(), maps.ravel())

    by_turns(ours, theirs, rounds=5 if device.type == "cpu" else 2)
    keep(benchmark, "images per second", n / benchmark.extra_info["seconds"]["value"])


def peak(folder: Path) -> tuple[int, float]:
    """Bytes of the maps, and those by which making them raises a process's peak."""
    size = SIZES["synthetic"]
    model, features = (
        model_of(size, torch.device("cpu")),
        images_at(folder, SIZES["synthetic"]),
    )
    few = features.take(range(32))
    calibration = calibrate(model, few.where(label=0))
    score(
        model, few, calibration, size=(SIDE, SIDE)
    )  # libraries load, and the first batch is allocated
    before = _peak_bytes()
    scores = score(model, features, calibration, size=(SIDE, SIDE))
    return 2 * scores.logp.nbytes, _peak_bytes() - before


def _peak_bytes() -> int:
    """Of memory that this process has held since it began; that of `resource` counts
    its parent's as well.
    """
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return 1024 * int(line.split()[1])


@on_a_cpu
@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="reads peaks in /proc"
)
def test_memory_of_scoring(benchmark, tmp_path):
    """What the peak grows by per image beside the bytes of its two maps, which are the
    result; pages of the file that the system keeps in memory count as well.
    """
    sizes = (256, 512, 1024)
    peaks = []
    for n in sizes:
        images_of(SIZES["synthetic"], n, tmp_path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(peak, (tmp_path,)))
    maps, grown = np.transpose(peaks)
    keep(benchmark, "bytes per image at the peak", np.polyfit(sizes, grown, 1)[0])
    keep(benchmark, "bytes per image of the maps", np.polyfit(sizes, maps, 1)[0])
    benchmark.pedantic(lambda: None)
