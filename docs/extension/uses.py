"""Where public names are seen at work: in the gallery, and in notebooks."""

__all__ = ["notebooks", "seen_in", "source_of", "title_of"]

import ast
import functools
import json
import re
from collections import defaultdict
from pathlib import Path

from docs.extension.names import entries
from docs.extension.settings import REPOSITORY


def notebooks() -> list[Path]:
    """The stored notebooks, in order."""
    return sorted((REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))


def source_of(notebook: Path, kind: str = "code") -> str:
    """All cells of a kind; code without magics."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]
    return re.sub(r"^\s*%.*$", "", "\n\n".join(texts), flags=re.MULTILINE)


def title_of(notebook: Path) -> str:
    """The question that a notebook opens with."""
    return source_of(notebook, "markdown").partition("\n")[0].removeprefix("# ")


@functools.cache
def seen_in() -> dict[str, list[str]]:
    """Links to gallery and notebooks by the dotted name that is at work there."""
    from docs.extension.gallery import plots

    found = defaultdict(list)
    for plot, parts in plots().items():
        room, _, name = plot.partition(".")
        link = f":ref:`{name} <gallery-{room}-{name}>`"
        for dotted in {f"analysis.{plot}", *imported(parts.example)}:
            _add(found, dotted, link)
    for notebook in notebooks():
        link = f":doc:`{notebook.stem} </tutorials/{notebook.stem}>`"
        for dotted in imported(source_of(notebook)):
            _add(found, dotted, link)
    return dict(found)


def _add(found: dict[str, list[str]], dotted: str, link: str) -> None:
    entry = entries().get(dotted)
    if entry is not None and link not in found[entry.dotted]:
        found[entry.dotted].append(link)


def imported(source: str) -> list[str]:
    """Dotted names that code imports from a module."""
    return [
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
