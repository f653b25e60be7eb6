"""The gallery: every plot on the small made-up table that it is tested on."""

__all__ = ["plots", "write_gallery"]

import functools
import importlib
from itertools import groupby
from pathlib import Path

from docs.extension.docstrings import Parts, parts_of
from docs.extension.settings import REPOSITORY, write

DPI = 60  # of a picture 12.8 inches wide
SOURCE = REPOSITORY / "tests" / "analysis" / "drawings.py"
MADE_UP = (
    "Drawn from small tables that are made up in `tests/analysis/drawings.py`, the "
    "ones that every plot is tested on: nothing here was measured. In the lines that "
    "make a plot of yours, `run` and `runs` are those of the "
    "[reference](../reference/index.rst)."
)


@functools.cache
def plots() -> dict[str, Parts]:
    """Docstring of every plot that the rooms offer, by `room.plot`."""
    from tests.analysis.drawings import plots as named

    return {name: parts_of(_function(name)) for name in sorted(named())}


def _function(name: str) -> object:
    room, _, plot = name.partition(".")
    return getattr(importlib.import_module(f"analysis.{room}"), plot)


def write_gallery(docs: Path) -> None:
    """A page of thumbnails, and a page for each room."""
    folder = docs / "gallery"
    rooms = {
        room: list(names)
        for room, names in groupby(plots(), key=lambda name: name.partition(".")[0])
    }
    for name in plots():
        _draw(name, folder / "images" / f"{name}.png")
    write(folder / "index.md", _index(rooms))
    for room, names in rooms.items():
        write(folder / f"{room}.md", _page(room, names))


def _draw(name: str, path: Path) -> None:
    """Draw a plot where it, its style or its table is newer than its picture."""
    module = importlib.import_module(_function(name).__module__)
    sources = [SOURCE, Path(str(module.__file__)), REPOSITORY / "analysis/style.py"]
    newest = max(source.stat().st_mtime for source in sources)
    if path.is_file() and path.stat().st_mtime > newest:
        return
    import matplotlib.pyplot as plt

    from tests.analysis.drawings import DRAWINGS, STREAMS

    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.style.context("analysis.slides"):
        DRAWINGS[name](STREAMS["5 of 3"]).savefig(path, dpi=DPI)
    plt.close("all")


def _index(rooms: dict[str, list[str]]) -> str:
    lines = ["# Gallery", "", MADE_UP, ""]
    lines += [":::{toctree}", ":hidden:", "", *rooms, ":::", ""]
    for room, names in rooms.items():
        lines += [f"## {room.capitalize()}", "", "::::{grid} 1 2 3 3", ":gutter: 2", ""]
        for name in names:
            lines += _card(name)
        lines += ["::::", ""]
    return "\n".join(lines)


def _card(name: str) -> list[str]:
    room, _, plot = name.partition(".")
    return [
        f":::{{grid-item-card}} {plot}",
        f":img-top: images/{name}.png",
        f":img-alt: {plot} on a made-up table",
        f":link: gallery-{room}-{plot}",
        ":link-type: ref",
        ":class-card: picture",
        plots()[name].summary,
        ":::",
    ]


def _page(room: str, names: list[str]) -> str:
    title = (importlib.import_module(f"analysis.{room}").__doc__ or room).strip()
    lines = [f"# {room.capitalize()}", "", title.partition("\n")[0], "", MADE_UP, ""]
    for name in names:
        lines += _section(name)
    return "\n".join(lines)


def _section(name: str) -> list[str]:
    room, _, plot = name.partition(".")
    parts = plots()[name]
    picture = f"![{plot} on a made-up table](images/{name}.png)"
    lines = [f"(gallery-{room}-{plot})=", f"## {plot}", "", picture, "", parts.summary]
    lines += ["", f"*How to read it.* {parts.reading}" if parts.reading else ""]
    lines += ["", f"*Takes* {parts.takes}" if parts.takes else ""]
    lines += ["", "```python", parts.example.rstrip(), "```", ""]
    return [*lines, f"All of its arguments: `analysis.{room}.{plot}`.", ""]
