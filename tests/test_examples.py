"""Every public function and class of faces and rooms carries an example, and all
examples run.

They find a run that learns task after task as `run`, that and the joint one as `runs`,
and their study as `plan`, all on the tiny stream.
"""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from docs.extension.names import entries

REPOSITORY = Path(__file__).resolve().parent.parent
PATHS = [
    p for name in ("cl_flow", "analysis") for p in (REPOSITORY / name).rglob("*.py")
]
DEFINITIONS = (ast.ClassDef, ast.FunctionDef)
# Minutes to hours: their examples are shown, and skipped. tests/analysis/methods runs them small.
LONG = {
    "analysis.methods.fit_few_methods",
    "analysis.methods.fit_methods",
    "analysis.methods.measure_methods",
}
PARSER = doctest.DocTestParser()
# Faces, rooms of experiments, and the modules that `analysis` shows. The rooms of
# cl_flow offer more than one calls.
OURS = {dotted: entry for dotted, entry in entries().items() if dotted.count(".") == 1}
OURS |= {dotted: e for dotted, e in entries().items() if dotted.startswith("analysis.")}
CALLED = {entry.dotted: entry.value for entry in OURS.values() if callable(entry.value)}


def shown(path: Path) -> list[str]:
    """Public names of a module whose docstring holds an example."""
    nodes = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, DEFINITIONS)
    ]
    public = [node for node in nodes if not node.name.startswith("_")]
    return [n.name for n in public if ">>>" in (ast.get_docstring(n) or "")]


WITH_EXAMPLES = {path: names for path in sorted(PATHS) if (names := shown(path))}


def examples(value: object) -> list[doctest.Example]:
    """Lines of a docstring that run."""
    found = PARSER.get_examples(inspect.getdoc(value) or "")
    return [one for one in found if doctest.SKIP not in one.options]


def test_nothing_that_one_calls_is_without_an_example():
    without = [dotted for dotted, value in CALLED.items() if not examples(value)]
    lacking = sorted(set(without) - LONG)
    assert not lacking, (
        f"Expected an Example in the docstring of {', '.join(lacking)}; got none. "
        "`run`, `runs` and `plan` are at hand there (tests/test_examples.py)."
    )


def test_only_what_takes_hours_is_skipped():
    assert LONG <= CALLED.keys()
    text = "\n".join(path.read_text() for path in PATHS)
    assert text.count("doctest: +SKIP") == len(LONG)


@pytest.fixture(scope="module")
def at_hand(tiny, tmp_path_factory) -> dict:
    """What examples find: `plan`, `runs` and `run`."""
    from analysis import Study
    from cl_flow import fit

    plan = Study(name="tiny", base=tiny, seeds=(0,))
    configs = [plan.config(name) for name in ("finetune", "joint")]
    runs = [fit(config, progress=False) for config in configs]
    return {"plan": plan, "runs": runs, "run": runs[0]}


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, at_hand):
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    module = importlib.import_module(name)
    for found in doctest.DocTestFinder().find(module, extraglobs=at_hand):
        runner.run(found)
        plt.close("all")  # the next one draws on axes of its own
    assert runner.tries and not runner.failures
