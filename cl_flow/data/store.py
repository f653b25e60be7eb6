"""Feature arrays on disk, one file a level, with a checksum each."""

__all__ = ["BrokenCache", "checksums", "open_levels", "open_whole", "store_levels"]

import json
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cl_flow.paths import FileState, atomic, file_state

log = logging.getLogger(__name__)

# Files whose checksum was verified in this session, in their state of then.
_VERIFIED: set[FileState] = set()
PIECE = 2**24


class BrokenCache(Exception):
    """A cache that is not what was written; whoever made it makes it anew."""


def store_levels(folder: Path, levels: Sequence[np.ndarray], facts: dict) -> None:
    """Write the arrays of a folder, and last the facts, which make it whole."""
    for i, level in enumerate(levels):
        with atomic(folder / f"level{i}.npy") as path:
            np.save(path, level)
    facts = {**facts, "crc32": checksums(folder, len(levels))}
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps(facts, indent=1))


def open_levels(
    folder: Path, n: int, mode: Literal["r", "r+"] = "r"
) -> tuple[np.memmap, ...]:
    """Map the arrays of a folder into memory.

    Raises:
        BrokenCache: A file is missing or cut short, or, on its first reading in a
            session, its checksum is another. What holds none is not verified.
    """
    expected = _read_facts(folder).get("crc32", []) if mode == "r" else []
    levels = []
    for i in range(n):
        path = folder / f"level{i}.npy"
        try:
            levels.append(np.load(path, mmap_mode=mode))
        except (OSError, ValueError, EOFError) as error:
            raise BrokenCache(f"{path}: {error}") from error
        if i < len(expected):
            _verify(path, expected[i])
    return tuple(levels)


def open_whole(
    folder: Path, n: int | None = None
) -> tuple[tuple[np.memmap, ...], dict[str, Any]] | None:
    """Levels and facts of a folder that is whole; of another none, to be made anew.

    Args:
        folder: Of the cache.
        n: How many levels it has; by default one for each of the `grids` it tells.
    """
    try:
        facts = _read_facts(folder)
        if not facts:
            return None
        return open_levels(folder, n or len(facts["grids"])), facts
    except (BrokenCache, KeyError) as error:
        log.warning("features are made anew: %s", error)
        return None


def _read_facts(folder: Path) -> dict[str, Any]:
    """What `complete.json` says of a folder; nothing where there is none.

    Raises:
        BrokenCache: It is cut short.
    """
    path = folder / "complete.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise BrokenCache(f"{path}: {error}") from error


def checksums(folder: Path, n: int) -> list[int]:
    """Checksum of each level's file, as it is written; it need not be verified then."""
    paths = [folder / f"level{i}.npy" for i in range(n)]
    values = [_checksum(path) for path in paths]
    _VERIFIED.update(map(file_state, paths))
    return values


def _verify(path: Path, expected: int) -> None:
    state = file_state(path)
    if state in _VERIFIED:
        return
    if _checksum(path) != expected:
        raise BrokenCache(f"{path}: its checksum is not the one it was written with")
    _VERIFIED.add(state)


def _checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            value = zlib.crc32(piece, value)
    return value
