"""Rooms: lazy faces that still answer to former names."""

__all__ = ["open_house", "open_room"]

import importlib
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import lazy_loader

from cl_flow.moved import RENAMED

Face = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]

# Before 0.2 all of their names could be imported from `analysis` itself.
ROOMS = (
    "detection",
    "pictures",
    "embedding",
    "centers",
    "expansion",
    "recovery",
    "alignment",
    "ledger",
    "judgement",
    "methods",
    "conventions",
    "intervals",
    "metrics",
)


def open_room(name: str, file: str, *, once: str | None = None) -> Face:
    """Face of a room, from the `.pyi` beside its `__init__.py`.

    Loaded when asked for.

    Args:
        name: `__name__` of the room.
        file: `__file__` of the room.
        once: Function that had the room's name before 0.2; calling the room calls it.

    Returns:
        The room's `__getattr__`, `__dir__` and `__all__`.
    """
    attribute, listing, names = lazy_loader.attach_stub(name, file)
    if once is None:
        return attribute, listing, names
    module = sys.modules[name]
    module.__class__ = _Callable
    module.__dict__["_once"] = once
    former = name.rpartition(".")[2]

    def lead(wanted: str) -> Any:
        return module if wanted == former else attribute(wanted)

    return lead, listing, names


class _Callable(ModuleType):
    """Room that may be called as the function that had its name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        once = self.__dict__["_once"]
        _warn(f"{self.__name__}(...)", f"{self.__name__}.{once}(...)")
        return getattr(self, once)(*args, **options)


def open_house(name: str, file: str) -> Face:
    """Face of `analysis`, which leads its former names to their rooms."""
    face = lazy_loader.attach_stub(name, file)
    attribute, listing, names = face

    def lead(wanted: str) -> Any:
        if wanted in names or wanted.startswith("__"):
            return attribute(wanted)
        for room in ROOMS:
            module = importlib.import_module(f"{name}.{room}")
            for known in (wanted, RENAMED.get(wanted, wanted)):
                if known in module.__all__:
                    _warn(f"{name}.{wanted}", f"{name}.{room}.{known}")
                    return getattr(module, known)
        return attribute(wanted)

    return lead, listing, names


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is {new} now; the next release knows it there alone.",
        DeprecationWarning,
        stacklevel=3,
    )
