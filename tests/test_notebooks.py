"""Stored notebooks are short, stripped and only compose; executed on the smallest
preset, none fails.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
MOST_CELLS, MOST_LINES = 25, 15

each_path = pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem) for p in sorted(FOLDER.glob("[0-9]*.ipynb"))]
)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(cell: NotebookNode) -> ast.Module:
    """The cell's Python, without its magics."""
    return ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE))


def private_names(tree: ast.AST) -> set[str]:
    """Names with a leading underscore that the code imports or reaches into."""
    reached = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            dotted = [alias.name for alias in node.names] + [
                getattr(node, "module", None) or ""
            ]
            reached |= {name for path in dotted for name in path.split(".")}
    return {
        name for name in reached if name.startswith("_") and not name.endswith("__")
    }


@each_path
def test_it_is_stored_without_outputs(path):
    assert not [
        cell.source for cell in code(read(path)) if cell.outputs or cell.execution_count
    ]


@each_path
def test_it_runs_on_the_kernel_that_every_installation_has(path):
    assert read(path).metadata.kernelspec.name == "python3"


@each_path
def test_it_opens_with_a_question_and_ends_with_words(path):
    first, *_, last = read(path).cells
    assert first.cell_type == last.cell_type == "markdown"
    assert "?" in first.source


@each_path
def test_it_reloads_what_is_edited_and_takes_parameters(path):
    notebook = read(path)
    # `%load_ext` would say on a second run that it is there already.
    assert "%reload_ext autoreload" in code(notebook)[0].source
    assert (
        sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells)
        == 1
    )
    assert {"preset", "seeds", "style"} <= papermill.inspect_notebook(str(path)).keys()


def test_what_the_first_cells_import_leaves_what_can_wait():
    """Seconds of imports: each is taken where it is used. The last notebook is spared,
    whose estimator is one of scikit-learn's.
    """
    paths = [
        path for path in sorted(FOLDER.glob("[0-9]*.ipynb")) if "gmm" not in path.stem
    ]
    firsts = [ast.unparse(parsed(code(read(path))[0])) for path in paths]
    can_wait = (
        "FrEIA timm torchvision umap numba sklearn scipy.stats seaborn.matrix papermill"
    )
    ask = (
        f"import sys; sys.exit(', '.join(sys.modules.keys() & set({can_wait.split()})))"
    )
    program = "\n".join([*firsts, ask])
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    assert not done.stderr.strip(), done.stderr


@each_path
def test_it_is_short(path):
    cells = read(path).cells
    assert len(cells) <= MOST_CELLS
    assert not [
        cell.source for cell in cells if len(cell.source.splitlines()) > MOST_LINES
    ]


@each_path
def test_it_only_composes(path):
    trees = [parsed(cell) for cell in code(read(path))]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert not [
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, definitions)
    ]
    assert not set().union(*map(private_names, trees))


@each_path
def test_its_tables_are_shown_through_one_door(path):
    ends = [parsed(cell).body[-1:] for cell in code(read(path))]
    calls = [
        end.value.func
        for (end,) in filter(None, ends)
        if isinstance(end, ast.Expr) and isinstance(end.value, ast.Call)
    ]
    methods = {func.attr for func in calls if isinstance(func, ast.Attribute)}
    assert not methods & set(dir(pd.DataFrame))


@pytest.mark.parametrize(("source", "names"), [
    ("from analysis.plots import plot_curves\nimport cl_flow", set()),
    ("from analysis.plots import _axes", {"_axes"}),
    ("import analysis._cache", {"_cache"}),
    ("from cl_flow._inner import fit", {"_inner"}),
    ("run._read()", {"_read"}),
    ("cl_flow.__version__", set()),
    ("%load_ext autoreload\n%autoreload 2\nrun", set()),
])  # fmt: skip
def test_private_names_are_seen_when_planted(source, names):
    assert private_names(parsed(nbformat.v4.new_code_cell(source))) == names


# Run in the notebook's kernel, after its imports: figures are held to the law as they
# are saved.
LAW = f"""
import sys
sys.path.insert(0, {str(FOLDER.parent)!r})
from analysis import studies
from tests.analysis.figures import lawful
studies.save_figure = lawful(studies.save_figure)
"""


@pytest.mark.slow
@each_path
def test_it_executes_on_the_smallest_preset(path, tmp_path, monkeypatch):
    """And nobody would send back what it composes."""
    monkeypatch.delenv(
        "MPLBACKEND"
    )  # the notebook draws inline, as it does for its readers
    notebook = read(path)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(LAW))
    nbformat.write(notebook, tmp_path / path.name)
    executed = papermill.execute_notebook(
        tmp_path / path.name,
        tmp_path / f"executed-{path.name}",
        {"preset": "smoke", "seeds": 1},
        kernel_name="python3",
        cwd=FOLDER,
        progress_bar=False,
    )
    outputs = [output for cell in code(executed) for output in cell.outputs]
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert not [page for page in pages if 'class="dataframe"' in page]
