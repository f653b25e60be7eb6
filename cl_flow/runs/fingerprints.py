"""Fingerprints of what runs learn and are measured on, read again when it changes."""

__all__ = [
    "changed_since",
    "training_fingerprint",
    "weights_fingerprint",
    "whole_fingerprint",
]

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import fingerprint
from cl_flow.data.weights import find_weights, weights_digest, weights_here

# (dataset, folder, what) -> state of the folder's files, and the fingerprint of then.
_KNOWN: dict[tuple[str, Path, str], tuple[str, str]] = {}


def training_fingerprint(dataset: str, folder: Path) -> str:
    """Digest of a dataset's normal training images.

    It depends on their bytes, names and categories, not on where they lie.

    Args:
        dataset: Name in `DATASETS`.
        folder: Its folder.

    Raises:
        FileNotFoundError: No images there.
    """
    return _fingerprint(dataset, folder, "training")


def whole_fingerprint(dataset: str, folder: Path) -> str:
    """Digest of all images of a dataset, and of their masks.

    Args:
        dataset: Name in `DATASETS`.
        folder: Its folder.

    Raises:
        FileNotFoundError: No images there.
    """
    return _fingerprint(dataset, folder, "whole")


def weights_fingerprint(features: FeatureConfig) -> str | None:
    """Digest of a backbone's file of weights; None where it is not on this machine."""
    if features.weights == "random":
        return "random"
    if features.weights is None:
        path = weights_here(features.backbone)
    else:
        try:
            path = find_weights(features.backbone, features.weights)
        except FileNotFoundError:
            path = None
    return None if path is None else weights_digest(path)


def changed_since(
    facts: Mapping[str, Any], data: str, weights: str | None
) -> str | None:
    """What a run learned with that is no longer the same, in words; None if nothing is.

    What a run of before does not tell, and weights that are not here, count as the
    same.

    Args:
        facts: Contents of its run.json.
        data: `training_fingerprint` of now.
        weights: `weights_fingerprint` of now.
    """
    if facts["data"] not in (None, data):
        return "training images"
    if weights is not None and facts.get("weights") not in (None, weights):
        return "weights"
    return None


def _fingerprint(dataset: str, folder: Path, what: str) -> str:
    key = (dataset, folder, what)
    state = _state(folder)
    if state and key in _KNOWN and _KNOWN[key][0] == state:
        return _KNOWN[key][1]
    samples = DATASETS[dataset](folder)
    if what == "training":
        is_normal = (samples["split"] == "train") & (samples["label"] == 0)
        digest = fingerprint(samples[is_normal])
    else:
        digest = fingerprint(samples, masks=True)
    _KNOWN[key] = (_state(folder), digest)
    return digest


def _state(folder: Path) -> str:
    """Digest of names, sizes and times of all files of a folder; empty without any."""
    digest = blake2b(digest_size=16)
    is_empty = True
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            facts = os.stat(path)
            times = f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}"
            digest.update(f"{path}:{times};".encode())
            is_empty = False
    return "" if is_empty else digest.hexdigest()
