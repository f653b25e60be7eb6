"""The reference: every public object once, on the page of its face or room."""

__all__ = ["write_reference"]

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

from cl_flow.registry import Registry
from docs.extension.names import Entry, entries, first_sentence, places
from docs.extension.settings import write

RUNS = (
    "In the examples ``run`` is a run that learns task after task, ``runs`` are that "
    'one and the joint one: ``runs = plan.fit("finetune", "joint")`` of '
    "``plan = study(…)``. Tests run every example on a tiny stream."
)


def write_reference(docs: Path) -> None:
    """A page for each place that has public names, and one that lists the pages."""
    for place in places():
        write(docs / "reference" / f"{place}.rst", _page(place))
    names = "\n".join(f"   {place}" for place in places())
    index = [*_titled("Reference"), RUNS, "", ".. toctree::", "   :maxdepth: 1", ""]
    write(docs / "reference" / "index.rst", "\n".join([*index, names, ""]))


def _titled(title: str) -> list[str]:
    return [title, "=" * len(title), ""]


def _page(place: str) -> str:
    lines = [*_titled(place), f".. automodule:: {place}", "   :no-members:", ""]
    if getattr(importlib.import_module(place), "__path__", None) is None:
        lines[-2:] = ["   :no-members:", ""]
    there = {dotted: entry for dotted, entry in entries().items() if _in(dotted, place)}
    elsewhere = [entry for entry in there.values() if entry.place != place]
    if elsewhere:
        links = ", ".join(f"`{entry.dotted}`" for entry in elsewhere)
        lines += [f"Also from here: {links}.", ""]
    for entry in there.values():
        if entry.place == place:
            lines += _described(entry)
    return "\n".join(lines)


def _in(dotted: str, place: str) -> bool:
    return dotted.rpartition(".")[0] == place


def _described(entry: Entry) -> list[str]:
    if inspect.isclass(entry.value):
        return [f".. autoclass:: {entry.dotted}", "   :members:", ""]
    if inspect.isroutine(entry.value):
        return [f".. autofunction:: {entry.dotted}", ""]
    head = [f".. py:data:: {entry.name}", f"   :module: {entry.place}", ""]
    return [*head, *_held(entry.value), ""]


def _held(value: object) -> list[str]:
    """What a registry, a mapping or a constant holds."""
    if not isinstance(value, Mapping):
        return [f"   ``{value!r}``" if len(repr(value)) < 300 else "   A value."]
    kind = value.kind if isinstance(value, Registry) else "name"
    lines = [f"   By {kind}:", "", "   .. list-table::", "      :widths: auto", ""]
    for name, held in value.items():
        says = first_sentence(held) if callable(held) else f"``{held!r}``"
        lines += [f"      * - ``{name}``", f"        - {says}"]
    return lines
