"""Registries: dictionaries that functions enrol in by decorator."""

__all__ = ["Registry"]

from collections.abc import Callable
from typing import Any

from cl_flow.calls import sentence_on


class Registry(dict[str, Any]):
    """Registry of functions or classes by name.

    The tests run their laws over every entry.

    Args:
        kind: What an entry is, in the singular (`"dataset"`); it opens the error for an
            unknown name.

    Example:
        >>> DATASETS = Registry("dataset")
        >>> @DATASETS
        ... def mine(root): ...
        >>> DATASETS["mine"] is mine
        True
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.renamed: dict[str, str] = {}

    def __call__(self, entry: Callable | str) -> Callable:
        """Enrol under the function's own name, or as `@REGISTRY("other-name")`."""
        if isinstance(entry, str):
            return lambda function: self._enrol(entry, function)
        return self._enrol(entry.__name__, entry)

    def _enrol(self, name: str, entry: Callable) -> Callable:
        if name in self and self[name].__module__ != entry.__module__:
            raise ValueError(
                f"Expected a new {self.kind} name; "
                f"{name!r} is taken by {self[name].__module__}."
            )
        self[name] = entry
        return entry

    def rename(self, old: str, new: str) -> None:
        """Keep an entry's former name, which runs and notebooks may hold."""
        self.renamed[old] = new

    def current(self, name: str) -> str:
        """Today's name of an entry, which its former names lead to."""
        return self.renamed.get(name, name)

    def __missing__(self, name: str) -> Any:
        if name in self.renamed:
            return self[self.renamed[name]]
        raise KeyError(sentence_on(self.kind, name, sorted(self)))
