"""Feature arrays on disk, one file a level."""

__all__ = ["digest", "open_levels", "store_levels"]

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from cl_flow.paths import atomic


def store_levels(folder: Path, levels: Sequence[np.ndarray], facts: dict) -> None:
    for i, level in enumerate(levels):
        with atomic(folder / f"level{i}.npy") as path:
            np.save(path, level)
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps(facts, indent=1))


def open_levels(folder: Path, n: int, mode: str = "r") -> tuple[np.memmap, ...]:
    return tuple(np.load(folder / f"level{i}.npy", mmap_mode=mode) for i in range(n))


def digest(facts: object, length: int) -> str:
    return blake2b(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[
        :length
    ]
