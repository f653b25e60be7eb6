"""The bundled backbone: the tracked file is the documented one, and timm takes every
tensor it needs from it.
"""

import hashlib
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).resolve().parents[2] / "data" / "backbone"
FILE = FOLDER / "test_byobnet.safetensors"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    overlay = {"file": str(FILE)}
    return timm.create_model(
        "test_byobnet",
        pretrained=True,
        features_only=True,
        out_indices=[2, 3],
        pretrained_cfg_overlay=overlay,
    ).eval()


def test_the_file_is_the_one_the_readme_describes() -> None:
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() in (
        FOLDER / "README.md"
    ).read_text(encoding="utf-8")


def test_the_file_is_small_enough_to_be_tracked() -> None:
    assert FILE.stat().st_size < 3e6


def test_every_tensor_of_the_model_comes_from_the_file(model: torch.nn.Module) -> None:
    stored = load_file(FILE)
    loaded = {
        key.replace("stages_", "stages."): value
        for key, value in model.state_dict().items()
    }
    assert loaded.keys() == stored.keys()
    for key, value in loaded.items():
        torch.testing.assert_close(value, stored[key].to(value.dtype), rtol=0, atol=0)


def test_parameters_are_single_precision(model: torch.nn.Module) -> None:
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("side", [128, 160, 256])
def test_features_have_the_documented_shapes_and_are_finite(
    model: torch.nn.Module, side: int
) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = model(images)
    assert model.feature_info.channels() == [64, 128]
    for level, channels, stride in zip(features, (64, 128), (8, 16), strict=True):
        assert level.shape == (2, channels, side // stride, side // stride)
        assert level.isfinite().all()
        assert level.std() > 0.01


def test_features_tell_a_mark_on_a_plain_surface(model: torch.nn.Module) -> None:
    plain = torch.zeros(1, 3, 128, 128)
    marked = plain.clone()
    marked[..., 60:68, 40:88] = 1.5
    with torch.inference_mode():
        change = (model(marked)[0] - model(plain)[0]).norm(dim=1)[0]
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert 6 <= row <= 9
    assert 4 <= column <= 11
