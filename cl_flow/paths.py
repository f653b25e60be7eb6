"""Paths of data, and files written whole or not at all.

CL_FLOW_DATA moves the data folder.
"""

__all__ = [
    "ASSETS",
    "DATA",
    "PARTIAL",
    "FileState",
    "atomic",
    "file_state",
    "folder_name",
    "sweep",
]

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "data"
DATA = Path(os.environ.get("CL_FLOW_DATA", ASSETS)).expanduser().resolve()


PARTIAL = ".partial-"  # in the names of files that are being written

# Path, bytes and time of last change: another content has another one.
FileState = tuple[str, int, int]


def file_state(path: str | Path) -> FileState:
    """State of a file, to know again what was read of it."""
    facts = os.stat(path)
    return str(path), facts.st_size, facts.st_mtime_ns


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary neighbour of `path`, renamed when all went well.

    A reader sees the old file or the whole new one; an interruption leaves the old one
    and no debris, and a killed process debris for `sweep`. The content is on disk
    before the name is: so it is after a power cut too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}{PARTIAL}", suffix=path.suffix
    )
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def sweep(folder: Path, *, seconds: float = 0.0) -> None:
    """Delete what killed processes left of files that they were writing.

    Args:
        folder: Where they were writing; nobody may be at it now.
        seconds: Age from which on a file is left, where somebody may be.
    """
    for path in folder.glob(f".*{PARTIAL}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def folder_name(text: str) -> str:
    """A text as the name of a folder: within its parent, and not too long for a system.

    Systems count bytes, of which a letter has up to four.

    Example:
        >>> folder_name("../../evil"), folder_name("my photographs")
        ('-..-evil', 'my photographs')
    """
    safe = re.sub(r"[\x00-\x1f/\\:*?\"<>|]", "-", text).lstrip(".")
    return os.fsencode(safe)[:80].decode(errors="ignore") or "unnamed"
