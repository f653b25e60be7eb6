"""One thing, one name: in documents, notebooks, sentences, figures and tables."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.alignment.plot import HEAD_STYLES, _name
from analysis.expansion.plot import PLACEMENT_STYLES
from analysis.ledger.plot import FLOW_STYLES
from analysis.recovery.plot import PROBE_STYLES
from analysis.words import counted, label_of
from cl_flow.align import ALIGNERS

REPOSITORY = Path(__file__).resolve().parent.parent
# What is not written -> what is.
TWINS = {
    r"oracles?": "refit",
    r"sham": "newest task's images",
    r"figmn": "FIGMN",
    r"igmn": "IGMN",
    r"[Ll]earnt": "learned",
}
TWIN = re.compile(rf"(?<![\w-])({'|'.join(TWINS)})(?![\w-])")
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "data/README.md"]
DOCUMENTS += ["data/reference/README.md", "docs/start.md", "docs/which.yaml"]
DOCUMENTS += ["docs/benchmarks.md", "docs/which.md"]
DOCUMENTS += [
    str(path.relative_to(REPOSITORY))
    for folder in ("concepts", "howto")
    for path in sorted((REPOSITORY / "docs" / folder).glob("*.md"))
]
# Modules whose text people read; the others' strings are names and errors.
SPEAKING = ["say", "plot*", "conclude*", "words", "pages", "claims", "report"]
SPEAKING += ["commands", "cli"]
MODULES = [
    path for name in SPEAKING for path in REPOSITORY.glob(f"analysis/**/{name}.py")
]


def prose(text: str) -> str:
    """Markdown without its code."""
    return CODE.sub("", text)


def cells(path: Path) -> str:
    """All words of a notebook."""
    notebook = json.loads(path.read_text())
    texts = [
        "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"
    ]
    return prose("\n\n".join(texts))


def strings(tree: ast.Module) -> Iterator[str]:
    """Strings of more than a word; one word is a name of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if " " in node.value.strip() or "\n" in node.value:
                yield prose(node.value)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_have_one_name_for_a_thing(name):
    assert not TWIN.findall(prose((REPOSITORY / name).read_text()))


@pytest.mark.parametrize(
    "path",
    sorted(REPOSITORY.glob("notebooks/[0-9]*.ipynb")),
    ids=lambda path: path.stem,
)
def test_notebooks_have_one_name_for_a_thing(path):
    assert not TWIN.findall(cells(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: ".".join(p.parts[-2:]))
def test_sentences_and_figures_have_one_name_for_a_thing(path):
    text = "\n".join(strings(ast.parse(path.read_text())))
    assert not TWIN.findall(text)


@pytest.mark.parametrize(("text", "found"), [
    ("As the oracle says, FIGMN", ["oracle"]),
    ("once learnt, `figmn` and ```sham```", ["learnt"]),
    ("just learned, IGMN, test_oracle", []),
])  # fmt: skip
def test_a_twin_is_seen_when_planted(text, found):
    assert TWIN.findall(prose(text)) == found


def test_figures_and_tables_say_the_same():
    figures = [(name, "", style["label"]) for name, style in PROBE_STYLES.items()]
    figures += [(n, "placement", s["label"]) for n, s in PLACEMENT_STYLES.items()]
    figures += [(n, "head", style["label"]) for n, style in HEAD_STYLES.items()]
    figures += [(name, "flow", style["label"]) for name, style in FLOW_STYLES.items()]
    for name in ("none", "exemplars", *ALIGNERS):
        row = SimpleNamespace(strategy="finetune", aligner=name)
        figures.append((name, "aligner", _name(row)))
    assert [f for f in figures if label_of(f[0], column=f[1]) != f[2]] == []


@pytest.mark.parametrize(("name", "column", "words"), [
    ("joint_gap", "", "joint gap"),
    ("ewc (strength 1e+06)", "", "EWC (strength 1,000,000)"),
    ("lora (lr 1e-05, rank 4)", "method", "LoRA (lr 0.00001, rank 4)"),
    ("mask", "player", "competitors"),
    ("mask", "", "mask"),
])  # fmt: skip
def test_names_of_code_become_words(name, column, words):
    assert label_of(name, column=column) == words


def test_people_count_from_1():
    assert [counted(index) for index in range(3)] == [1, 2, 3]
