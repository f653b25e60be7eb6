"""Where the site's sources lie, and which executed notebooks it shows."""

__all__ = ["PRESET", "REPOSITORY", "executed_folder", "settle_data", "write"]

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PRESET = os.environ.get("PRESET", "synthetic")


def settle_data() -> None:
    """Draw without a screen, and from the data folder that the environment names."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("CL_FLOW_DATA", str(REPOSITORY / "data"))


def executed_folder() -> Path:
    """Where `make figures` leaves the executed notebooks of the preset."""
    return Path(os.environ["CL_FLOW_DATA"]) / "executed" / PRESET


def write(path: Path, text: str) -> None:
    """Write a page where it is new: what stays is not read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
