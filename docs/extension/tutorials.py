"""Tutorials: the notebooks as `make figures` executed them, or as they are stored."""

__all__ = ["write_tutorials"]

import json
from pathlib import Path

from docs.extension.settings import PRESET, executed_folder, write
from docs.extension.uses import notebooks, title_of


def write_tutorials(docs: Path) -> None:
    """Copy the notebooks, and list them with their cost."""
    folder = docs / "tutorials"
    rows, names = [], [notebook.stem for notebook in notebooks()]
    for stored in notebooks():
        executed = executed_folder() / stored.name
        shown = executed if executed.is_file() else stored
        text = shown.read_text(encoding="utf-8")
        write(folder / stored.name, text)
        link = f"[{stored.stem}]({stored.name})"
        rows.append(f"| {link} | {title_of(stored)} | {_cost(text)} |")
    write(folder / "index.md", "\n".join([*_opening(), *rows, "", *_toctree(names)]))


def _cost(text: str) -> str:
    """Seconds that papermill took, where it executed the notebook."""
    seconds = json.loads(text)["metadata"].get("papermill", {}).get("duration")
    return "not executed" if seconds is None else f"{seconds:.0f}\N{NO-BREAK SPACE}s"


def _opening() -> list[str]:
    return [
        "# Tutorials",
        "",
        f"Each opens with a question. What stands here was executed on the preset "
        f"`{PRESET}`, seconds with the runs of earlier notebooks at hand; what is not "
        "executed shows its code alone. `make lab` opens copies to write in.",
        "",
        "| notebook | question | time |",
        "|---|---|---|",
    ]


def _toctree(names: list[str]) -> list[str]:
    return [":::{toctree}", ":hidden:", "", *names, ":::", ""]
