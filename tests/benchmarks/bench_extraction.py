"""Extraction: images per second beside bare inference of the same timm model, and
beside the maps on file.
"""

import collections
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis import study
from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import _extract, load_features
from cl_flow.data.images import read_image, read_pixels
from cl_flow.data.inference import forward, infer, precision_on
from tests.benchmarks.conftest import DEVICE, keep, timed

CONFIGS = {
    "lite0": study("synthetic").base.features,
    "resnet18": FeatureConfig("resnet18.a1_in1k", "random", 256, (1,), (2, 3)),
    "wide_resnet50": FeatureConfig(
        "wide_resnet50_2.racm_in1k", "random", 256, (1,), (2, 3)
    ),
    "b6_pyramid": FeatureConfig(weights="random"),
}
if DEVICE.type == "cuda":
    pyramid = FeatureConfig("tf_efficientnet_lite0.in1k", image_size=512)
    CONFIGS = {"lite0_pyramid": pyramid, "b6_pyramid": CONFIGS["b6_pyramid"]}
# Images, and images at a time, by side.
COUNTS = {128: (960, 32), 256: (96, 32), 1024: (6, 2)}
if DEVICE.type == "cuda":
    COUNTS = {512: (768, 32), 1024: (160, 16)}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> pd.DataFrame:
    return DATASETS["smoke"](tmp_path_factory.mktemp("drawn"))


def enlarged(samples: pd.DataFrame, side: int, folder: Path) -> pd.DataFrame:
    """The drawings at the size of photographs, with a camera's noise."""

    def enlarge(i: int, path: str) -> str:
        image = read_image(path).resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32)
        noise = np.random.default_rng(i).normal(0, 3, pixels.shape)
        noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.png")
        return str(folder / f"{i}.png")

    distinct = {path: i for i, path in enumerate(samples["image_path"].unique())}
    with ThreadPoolExecutor() as pool:
        made = dict(zip(distinct, pool.map(enlarge, distinct.values(), distinct)))
    return samples.assign(image_path=samples["image_path"].map(made))


def extraction_sides(
    samples: pd.DataFrame,
    config: FeatureConfig,
    device: torch.device,
    folder: Path,
    size: int,
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Filling the cache, and the same images decoded and inferred alone, both with a
    backbone that is loaded.
    """
    model, facts = load_backbone(config)
    model.to(device)
    paths, calls = list(samples["image_path"]), itertools.count()

    def ours() -> None:
        target = folder / f"features-{next(calls)}"
        target.mkdir(parents=True)
        _extract(samples, config, model, facts, target, device, size, False)

    def theirs() -> None:
        collections.deque(infer(config, model, facts, paths, device, size), maxlen=0)

    return ours, theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_extraction_against_bare_inference(
    benchmark, by_turns, device, drawings, tmp_path, name
):
    """Reading, decoding, resizing and writing included on our side, and none of it on
    the other: whole batches that are in memory, on all cores.
    """
    config = CONFIGS[name]
    n, size = COUNTS[config.image_size]
    samples = pd.concat(10 * [drawings], ignore_index=True).iloc[:n]
    if config.image_size > 128:
        side = 512 if config.image_size == 256 else 1024
        samples = enlarged(samples, side, tmp_path)
    ours, _ = extraction_sides(samples, config, device, tmp_path, size)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    model = load_backbone(config)[0].to(device, memory_format=layout)
    precision = precision_on(config, device)
    batch = torch.randn(size, 3, config.image_size, config.image_size)

    def theirs() -> None:
        for _ in range(0, len(samples), size):
            for values in forward(model, batch.to(device), config.scales, precision):
                values.cpu()

    rounds = 5 if config.image_size < 512 else 2
    by_turns(ours, theirs, rounds=rounds, ratio="share")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = list(samples["image_path"])
        reading = timed(lambda: list(pool.map(read_pixels, paths)))
    keep(benchmark, "images per second read alone", len(samples) / reading)
    load_features(
        samples, config, root=tmp_path, device=device, batch_size=size, progress=False
    )
    again = timed(
        lambda: load_features(
            samples, config, root=tmp_path, device=device, progress=False
        ).read()
    )
    seconds = benchmark.extra_info["seconds"]["value"]
    keep(benchmark, "images per second", len(samples) / seconds)
    keep(benchmark, "images per second in a second call", len(samples) / again)
