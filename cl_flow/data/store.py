"""Feature arrays on disk, one file a level."""

__all__ = ["open_levels", "store_levels"]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cl_flow.paths import atomic


def store_levels(folder: Path, levels: Sequence[np.ndarray], facts: dict) -> None:
    for i, level in enumerate(levels):
        with atomic(folder / f"level{i}.npy") as path:
            np.save(path, level)
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps(facts, indent=1))


def open_levels(
    folder: Path, n: int, mode: Literal["r", "r+"] = "r"
) -> tuple[np.memmap, ...]:
    return tuple(np.load(folder / f"level{i}.npy", mmap_mode=mode) for i in range(n))
