"""Public names, and the one place that documents each."""

__all__ = ["Entry", "entries", "first_sentence", "places"]

import functools
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any, NamedTuple

FACES = ("cl_flow", "analysis")


class Entry(NamedTuple):
    """A public object: the place that documents it, its name there, and itself."""

    place: str
    name: str
    value: Any

    @property
    def dotted(self) -> str:
        """What the reference calls it."""
        return f"{self.place}.{self.name}"


@functools.cache
def places() -> dict[str, list[str]]:
    """Public names of the faces, their rooms, and the modules that a face shows."""
    found = {}
    for face in FACES:
        for place in (face, *_rooms(face)):
            found[place] = list(importlib.import_module(place).__all__)
    return found


def _rooms(face: str) -> list[str]:
    module = importlib.import_module(face)
    shown = {name for name in module.__all__ if _is_module(getattr(module, name))}
    return [
        f"{face}.{part.name}"
        for part in pkgutil.iter_modules(module.__path__)
        if part.ispkg or part.name in shown
    ]


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


@functools.cache
def entries() -> dict[str, Entry]:
    """Every public object once, by all of its dotted names."""
    first: dict[int, Entry] = {}
    found = {}
    for place, names in places().items():
        module = importlib.import_module(place)
        for name in names:
            value = getattr(module, name)
            if not _is_module(value):
                entry = first.setdefault(id(value), Entry(place, name, value))
                found[f"{place}.{name}"] = entry
    return found


def first_sentence(value: Any) -> str:
    """Opening paragraph of a docstring, in a line."""
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())
