"""Frozen timm backbones and where their weights come from."""

__all__ = ["FeatureConfig", "load_backbone"]

import logging
import socket
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from cl_flow.paths import ASSETS, DATA

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureConfig:
    """Choice of backbone, pyramid and stages to extract.

    Every stage of `out_indices` at every size of the image pyramid; the defaults are
    HGAD's.

    Args:
        backbone: timm model name with its weight tag (the untagged name changed weights
            between versions).
        weights: File of weights, absolute or below the data folder; None looks in the
            local cache, then on the hub; `"random"` draws them from seed 0 (for trying
            shapes).
        image_size: Side in pixels that images are resized to.
        scales: The pyramid: the image is scaled by 1/s for each s.
        out_indices: Stages of the backbone that become levels.
    """

    backbone: str = "tf_efficientnet_b6.aa_in1k"
    weights: str | None = None
    image_size: int = 1024
    scales: tuple[int, ...] = (1, 2, 4)
    out_indices: tuple[int, ...] = (3,)


def load_backbone(config: FeatureConfig) -> tuple[nn.Module, dict]:
    """The frozen backbone in evaluation mode, and its facts.

    `source`, `sha`, `mean`, `std`, `interpolation`.

    Weights come from the explicit file, else from the local cache, else from the hub;
    the log says which.

    Raises:
        FileNotFoundError: The explicit file is not there.
        ConnectionError: No weights in the cache, and the hub is out of reach or
            switched off.
        ValueError: timm does not know the name.
    """
    import timm

    name = config.backbone
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0][:8]}*")[:6]
        close = ", ".join(near) or "see timm.list_models()"
        raise ValueError(f"Unknown timm model {name!r}; known, for example: {close}.")
    path = None if config.weights == "random" else _find_weights(config)
    overlay = None if path is None else {"file": str(path)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(
            name,
            pretrained=path is not None,
            features_only=True,
            out_indices=config.out_indices,
            pretrained_cfg_overlay=overlay,
        )
    cfg: Any = model.pretrained_cfg
    facts = {key: cfg[key] for key in ("mean", "std", "interpolation")}
    sha = "random"
    source = "drawn from seed 0"
    if path is not None:
        sha = blake2b(path.read_bytes(), digest_size=16).hexdigest()
        source = str(path)
    log.info("backbone %s: weights %s", name, source)
    return model.eval().requires_grad_(False), {**facts, "source": source, "sha": sha}


def _find_weights(config: FeatureConfig) -> Path:
    if config.weights is not None:
        places = [
            Path(config.weights).expanduser(),
            DATA / config.weights,
            ASSETS / config.weights,
        ]
        for place in places:
            if place.is_file():
                return place
        raise FileNotFoundError(
            f"Expected a file of weights; got {config.weights!r}, found neither there "
            f"nor in {DATA}."
        )
    import huggingface_hub
    import timm

    cfg: Any = timm.models.get_pretrained_cfg(config.backbone)
    repository = cfg.hf_hub_id
    file = cfg.hf_hub_filename or "model.safetensors"
    for name in (file, "model.safetensors", "pytorch_model.bin"):
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    return _download(config.backbone, repository, file)


def _download(backbone: str, repository: str, file: str) -> Path:
    """From the hub, if it answers within seconds.

    Its client would retry for a minute where there is no network.
    """
    import huggingface_hub

    endpoint = huggingface_hub.constants.ENDPOINT
    way_out = (
        f"put {repository}'s {file} on this machine and name it in "
        "FeatureConfig(weights=…)"
    )
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"No weights of {backbone!r} in the local cache, and HF_HUB_OFFLINE is "
            f"set; {way_out}."
        )
    try:
        address = urlsplit(endpoint)
        socket.create_connection(
            (address.hostname, address.port or 443), timeout=3
        ).close()
    except OSError as error:
        raise ConnectionError(
            f"No weights of {backbone!r} in the local cache, and {endpoint} is out of "
            f"reach ({error}); {way_out}."
        ) from error
    return Path(huggingface_hub.hf_hub_download(repository, file))
