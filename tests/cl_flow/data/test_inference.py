"""Inference at a precision, on any device, whatever the sizes of the pictures."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.extraction import load_features
from cl_flow.data.images import read_pixels
from cl_flow.data.inference import precision_on, transforms
from cl_flow.runs.config import load_samples
from tests.devices import GPU

PYRAMID = FeatureConfig(
    "test_resnet", weights="random", image_size=64, scales=(1, 2), out_indices=(1, 2)
)
HALF = dataclasses.replace(PYRAMID, precision="bfloat16")


@pytest.fixture
def samples(tiny):
    return load_samples(tiny)[:9]


def test_another_precision_is_other_features_near_the_first(samples, tmp_path):
    both = [
        load_features(samples, config, root=tmp_path, device="cpu", progress=False)
        for config in (PYRAMID, HALF)
    ]
    assert both[0].folder != both[1].folder
    for exact, rough in zip(both[0].levels, both[1].levels):
        assert not np.array_equal(exact, rough)
        gap = np.abs(exact.astype(float) - rough).mean() / np.abs(exact).mean()
        assert gap < 0.02


def test_what_is_asked_for_is_taken_and_what_is_not_known_refused():
    cpu = torch.device("cpu")
    assert precision_on(PYRAMID, cpu) == "float32"
    assert precision_on(HALF, cpu) == "bfloat16"
    with pytest.raises(ValueError, match="float32, bfloat16, or None; got 'half'"):
        FeatureConfig(precision="half")


def test_an_extraction_at_another_precision_begins_anew(
    samples, tmp_path, monkeypatch, caplog
):
    """The folder of a config that leaves it open is the same on every device."""
    import cl_flow.data.extraction as module

    infer = module.infer

    def cut(*arguments):
        yield next(infer(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "infer", cut)
    options = {"root": tmp_path, "device": "cpu", "progress": False, "batch_size": 4}
    with pytest.raises(KeyboardInterrupt):
        load_features(samples, PYRAMID, **options)
    monkeypatch.setattr(module, "infer", infer)
    monkeypatch.setattr(module, "precision_on", lambda *_: "bfloat16")
    with caplog.at_level(logging.WARNING):
        load_features(samples, PYRAMID, **options)
    assert "begins anew, in bfloat16" in caplog.text


@pytest.mark.parametrize("sizes", ["alike", "different"])
@pytest.mark.parametrize("device", [GPU])
def test_a_gpu_infers_what_a_cpu_does(samples, tmp_path, device, sizes):
    from PIL import Image

    if sizes == "different":
        for i, path in enumerate(samples["image_path"]):
            image = Image.open(path).resize((40 + i, 50))
            image.save(tmp_path / f"{i}.png")
        paths = [str(tmp_path / f"{i}.png") for i in range(len(samples))]
        samples = samples.assign(image_path=paths)
    exact = dataclasses.replace(PYRAMID, precision="float32")
    both = [
        load_features(
            samples,
            exact,
            root=tmp_path / where,
            device=where,
            progress=False,
            batch_size=4,
        )
        for where in ("cpu", device)
    ]
    for one, other in zip(both[0].levels, both[1].levels):
        gap = np.abs(one.astype(float) - other).mean() / np.abs(one).mean()
        assert gap < 0.02


@pytest.mark.parametrize("device", [GPU])
def test_a_gpu_resizes_within_a_grey_level(samples, device):
    fit, _ = transforms(PYRAMID, {"interpolation": "bicubic", "mean": 0, "std": 1})
    pixels = read_pixels(samples["image_path"][0])
    gap = fit(pixels).int() - fit(pixels.to(device)).cpu().int()
    assert gap.abs().max() <= 1
