"""Extraction: images per second beside bare inference of the same timm model, and
beside the maps on file.
"""

import collections
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis import study
from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import _extract, _forward, _inferred, load_features
from cl_flow.data.images import read_image
from tests.benchmarks.conftest import keep, timed

CONFIGS = {
    "lite0": study("synthetic").base.features,
    "resnet18": FeatureConfig("resnet18.a1_in1k", "random", 256, (1,), (2, 3)),
    "wide_resnet50": FeatureConfig(
        "wide_resnet50_2.racm_in1k", "random", 256, (1,), (2, 3)
    ),
    "b6_pyramid": FeatureConfig(weights="random"),
}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> pd.DataFrame:
    return DATASETS["smoke"](tmp_path_factory.mktemp("drawn"))


def enlarged(samples: pd.DataFrame, side: int, folder: Path) -> pd.DataFrame:
    """The drawings at the size of photographs, with a camera's noise."""
    rng, paths = np.random.default_rng(0), []
    for i, path in enumerate(samples["image_path"]):
        pixels = np.asarray(
            read_image(path).resize((side, side), Image.Resampling.BICUBIC), dtype=float
        )
        Image.fromarray(
            np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
        ).save(folder / f"{i}.png")
        paths.append(str(folder / f"{i}.png"))
    return samples.assign(image_path=paths)


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
        collections.deque(
            _inferred(config, model, facts, paths, device, size), maxlen=0
        )

    return ours, theirs


@pytest.mark.parametrize("name", CONFIGS)
def test_extraction_against_bare_inference(
    benchmark, by_turns, device, drawings, tmp_path, name
):
    """Reading, decoding, resizing and writing included on our side, and none of it on
    the other: whole batches that are in memory, on all cores.
    """
    config, heavy = CONFIGS[name], CONFIGS[name].image_size == 1024
    samples = pd.concat(10 * [drawings], ignore_index=True).iloc[
        : {128: 960, 256: 96, 1024: 6}[config.image_size]
    ]
    if config.image_size > 128:
        samples = enlarged(samples, 1024 if heavy else 512, tmp_path)
    size = 2 if heavy else 32
    ours, _ = extraction_sides(samples, config, device, tmp_path, size)
    model = load_backbone(config)[0].to(device)
    batch = torch.randn(size, 3, config.image_size, config.image_size)

    def theirs() -> None:
        for _ in range(0, len(samples), size):
            for values in _forward(model, batch.to(device), config.scales):
                values.cpu()

    by_turns(ours, theirs, rounds=2 if heavy else 5, ratio="share")
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
