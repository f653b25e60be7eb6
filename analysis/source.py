"""Digests of code.

That of a module, and of all it imports from these packages.
"""

__all__ = ["code_digest", "imported_modules", "source_digest"]

import ast
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

PACKAGES = ("analysis", "cl_flow")
# Modules that read a run from disk, and rooms that made it: what is on disk is made,
# and changes with no strategy or drawing. What trains (`fit`) leads to them by itself.
READERS = tuple(
    f"cl_flow.runs.{m}" for m in ("config", "fingerprints", "library", "run")
)
MAKERS = (
    "cl_flow.data.datasets",
    "cl_flow.runs.extending",
    "cl_flow.runs.importing",
    "cl_flow.strategies",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def code_digest(module: str) -> str:
    """Digest of a module's code and of all it imports of ours.

    Docstrings, comments and formatting are not code. What a module defines in a
    notebook is known by its imports alone.

    Args:
        module: Dotted name.
    """
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        known = None if name in digests else _own_code(name)
        if known is not None:
            digests[name], imported = known
            waiting += imported
    listed = ";".join(f"{name}={digests[name]}" for name in sorted(digests))
    return blake2b(listed.encode()).hexdigest()


@functools.cache
def _own_code(name: str) -> tuple[str, list[str]] | None:
    """Digest of one module's own code, and the modules that it leads to.

    None where there is no such module, or no file.
    """
    path = _file_of(name)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    digest = blake2b(ast.dump(_undocumented(tree)).encode()).hexdigest()
    return digest, _measuring(name, imported_modules(tree, name))


def source_digest(function: Callable) -> str:
    """Digest of a function's own source; of its bytecode where there is no source."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = repr(function) if code is None else repr((code.co_code, code.co_consts))
    return blake2b(text.encode()).hexdigest()


def _measuring(name: str, imported: Iterator[str]) -> list[str]:
    """Modules that a measurement follows from one of them on."""
    if name not in READERS:
        return list(imported)
    return [found for found in imported if not found.startswith(MAKERS)]


def imported_modules(tree: ast.Module, name: str) -> Iterator[str]:
    """Our modules that a module imports, anywhere in it.

    A name taken from the face of a package leads to the module that defines it.

    Args:
        tree: The module's syntax.
        name: Its dotted name.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, name)
            if _is_ours(base):
                yield base
                for alias in node.names:
                    yield _home(base, alias.name)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def _absolute(node: ast.ImportFrom, name: str) -> str:
    """Module that names are imported from, relative dots resolved."""
    if not node.level:
        return node.module or ""
    path = _file_of(name)
    is_package = path is not None and path.stem == "__init__"
    parents = name.split(".")
    kept = parents[: len(parents) - node.level + is_package]
    return ".".join([*kept, *filter(None, [node.module])])


def _home(package: str, name: str) -> str:
    """Module behind a name of a package.

    Its own, or the one that the face names.
    """
    path = _file_of(package)
    if path is None or path.stem != "__init__":
        return package
    if _file_of(f"{package}.{name}") is not None:
        return f"{package}.{name}"
    face = path if not path.with_suffix(".pyi").is_file() else path.with_suffix(".pyi")
    for node in ast.parse(face.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            if name in {alias.asname or alias.name for alias in node.names}:
                return _home(_absolute(node, package), name)
    return package


@functools.cache
def _file_of(name: str) -> Path | None:
    """Source file of a module.

    None where there is no such module, or no file.
    """
    if name in sys.modules:
        file = getattr(sys.modules[name], "__file__", None)
        # What a notebook's cells define is in no file.
        return None if file is None or name == "__main__" else Path(file)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin)


def _undocumented(tree: ast.Module) -> ast.Module:
    """The tree without its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
