"""Digests depend on all code that a measurement reaches, and on nothing else."""

import ast
import sys
import textwrap

import pytest

from analysis import source

CODE = """
def double(x):
    return 2 * x
"""


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Digest of a module of the given source."""
    monkeypatch.syspath_prepend(tmp_path)
    source.code_digest.cache_clear()
    source._file_of.cache_clear()

    def digest(code: str) -> str:
        (tmp_path / "planted.py").write_text(textwrap.dedent(code))
        sys.modules.pop("planted", None)
        source.code_digest.cache_clear()
        source._own_code.cache_clear()
        return source.code_digest("planted")

    yield digest
    source.code_digest.cache_clear()
    source._file_of.cache_clear()


@pytest.mark.parametrize("same", [
    "def double(x):\n    # twice\n    return 2 * x",
    '"""A module."""\n\n\ndef double(x):\n    """Twice."""\n    return 2*x',
    'def double(\n    x\n):\n    """Twice x."""\n    return (2 * x)',
])  # fmt: skip
def test_docstrings_comments_and_formatting_are_no_code(digest_of, same):
    assert digest_of(same) == digest_of(CODE)


@pytest.mark.parametrize("other", [
    "def double(x):\n    return x * 2",
    "def double(x, y=0):\n    return 2 * x",
    'def double(x):\n    return "2 * x"',
])  # fmt: skip
def test_code_is(digest_of, other):
    assert digest_of(other) != digest_of(CODE)


def test_what_is_imported_belongs_to_it(digest_of):
    alone = digest_of(CODE)
    leaning = digest_of("from analysis.metrics import image_auroc\n" + CODE)
    deeper = digest_of("from analysis.intervals import Interval\n" + CODE)
    assert len({alone, leaning, deeper}) == 3


@pytest.mark.parametrize(("line", "module"), [
    ("from analysis import evaluate", "analysis.detection.measure"),
    ("from analysis.ledger import transplant", "analysis.ledger.transplants"),
    ("from analysis import metrics", "analysis.metrics"),
    ("import cl_flow.scoring.maps", "cl_flow.scoring.maps"),
    ("def late():\n    from cl_flow.runs import fit", "cl_flow.runs.fitting"),
    ("from cl_flow import fit", "cl_flow.runs.fitting"),
])  # fmt: skip
def test_a_face_leads_to_the_module_behind_it(line, module):
    assert module in set(source.imported_modules(ast.parse(line), "notebook"))


def test_relative_imports_are_followed():
    found = source.imported_modules(
        ast.parse("from .swaps import swap\nfrom .. import metrics"),
        "analysis.ledger.measure",
    )
    assert {"analysis.ledger.swaps", "analysis.metrics"} <= set(found)


def test_a_run_on_disk_does_not_change_with_a_strategy_but_training_does():
    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            module = waiting.pop()
            path = source._file_of(module)
            if module not in seen and path is not None:
                seen.add(module)
                tree = ast.parse(path.read_text())
                found = source.imported_modules(tree, module)
                waiting += source._measuring(module, found)
        return seen

    assert "cl_flow.strategies.ewc" not in reached("analysis.detection.measure")
    assert "cl_flow.runs.importing" not in reached("analysis.detection.measure")
    assert "cl_flow.scoring.normality" in reached("analysis.detection.measure")
    assert "cl_flow.strategies.ewc" in reached("analysis.recovery.measure")
