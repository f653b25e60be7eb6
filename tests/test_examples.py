"""Examples in docstrings run, and there are enough of them."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PATHS = [
    p for name in ("cl_flow", "analysis") for p in (REPOSITORY / name).rglob("*.py")
]
DEFINITIONS = (ast.ClassDef, ast.FunctionDef)


def shown(path: Path) -> list[str]:
    """Public names of a module whose docstring holds an example."""
    nodes = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, DEFINITIONS)
    ]
    public = [node for node in nodes if not node.name.startswith("_")]
    return [n.name for n in public if ">>>" in (ast.get_docstring(n) or "")]


WITH_EXAMPLES = {path: names for path in sorted(PATHS) if (names := shown(path))}


def test_twenty_five_public_names_carry_an_example():
    assert sum(map(len, WITH_EXAMPLES.values())) >= 25


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path):
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.attempted and not result.failed
