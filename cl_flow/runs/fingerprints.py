"""Fingerprints of the images that runs learn, read again when a file has changed."""

__all__ = ["training_fingerprint"]

import os
from hashlib import blake2b
from pathlib import Path

from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import fingerprint

# (dataset, folder) -> state of the folder's files, and the fingerprint of then.
_KNOWN: dict[tuple[str, Path], tuple[str, str]] = {}


def training_fingerprint(dataset: str, folder: Path) -> str:
    """Digest of a dataset's normal training images.

    It depends on their bytes, names and categories, not on where they lie.

    Args:
        dataset: Name in `DATASETS`.
        folder: Its folder.

    Raises:
        FileNotFoundError: No images there.
    """
    key = (dataset, folder)
    state = _state(folder)
    if state and key in _KNOWN and _KNOWN[key][0] == state:
        return _KNOWN[key][1]
    samples = DATASETS[dataset](folder)
    is_normal = (samples["split"] == "train") & (samples["label"] == 0)
    digest = fingerprint(samples[is_normal])
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
