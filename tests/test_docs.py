"""The site is made from the code: what is public is on it, and what it shows runs."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

from analysis.scoring import METRICS
from cl_flow import fit
from cl_flow.align import ALIGNERS
from docs.extension import names
from docs.extension.docstrings import mend_docstring, parts_of
from docs.extension.documents import PAGES, lead
from docs.extension.gallery import plots, write_gallery
from docs.extension.links import dead_links
from docs.extension.names import entries, places
from docs.extension.reference import write_reference
from docs.extension.tables import write_tables
from docs.extension.tutorials import write_tutorials
from docs.extension.uses import imported, notebooks, seen_in

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
WHICH = yaml.safe_load((DOCS / "which.yaml").read_text(encoding="utf-8"))
WRITTEN = [
    DOCS / name for name in ("index.md", "start.md", "which.md", "benchmarks.md")
]
WRITTEN += [*DOCS.glob("concepts/*.md"), *DOCS.glob("howto/*.md")]
WRITTEN += [REPOSITORY / document for document in PAGES]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


# ---- the reference


def test_every_face_and_every_room_of_both_packages_is_a_place():
    rooms = {
        f"{face}.{path.parent.name}"
        for face in ("cl_flow", "analysis")
        for path in (REPOSITORY / face).glob("*/__init__.py")
    }
    assert {"cl_flow", "analysis", *rooms} <= places().keys()


def test_a_lazy_name_is_found_and_stands_on_one_page(tmp_path):
    write_reference(tmp_path)
    pages = {
        path.stem: path.read_text() for path in (tmp_path / "reference").glob("*.rst")
    }
    for dotted, entry in entries().items():
        data = f":: {entry.name}\n   :module: {entry.place}\n"
        heads = (f":: {entry.dotted}\n", data)
        assert any(head in pages[entry.place] for head in heads), f"{dotted} is nowhere"
    headings = "\n".join(pages.values())
    assert headings.count(":: analysis.evaluate\n") == 1
    assert entries()["analysis.detection.evaluate"].dotted == "analysis.evaluate"


def test_a_new_public_name_is_found_without_a_list(monkeypatch):
    module = importlib.import_module("analysis.conventions")
    monkeypatch.setattr(module, "__all__", [*module.__all__, "brand_new"])
    monkeypatch.setattr(module, "brand_new", lambda R: R, raising=False)
    for found in (names.places, names.entries):
        found.cache_clear()
    try:
        assert "analysis.conventions.brand_new" in names.entries()
    finally:
        monkeypatch.undo()
        for found in (names.places, names.entries):
            found.cache_clear()


def test_formulas_of_docstrings_are_set_as_formulas():
    lines = ["Moves $a^2$ to", "", "$$b = 1,$$", "", "at $5 each."]
    mend_docstring(None, "function", "nobody", None, None, lines)
    text = "\n".join(lines)
    assert ":math:`a^2`" in text and ".. math:: b = 1" in text and "$5 each" in text


# ---- the gallery


@pytest.mark.parametrize("name", plots())
def test_a_plot_says_how_to_read_it_what_it_takes_and_what_makes_it(name):
    parts, plot = plots()[name], name.partition(".")[2]
    assert parts.summary and parts.takes, f"{name} does not say what it takes"
    assert f"{plot}(" in parts.example, f"{name} has no lines that make it"


def test_a_docstring_is_taken_apart():
    def plot_it(table):
        """What it is.

        How to read it: from left
        to right.

        Args:
            table: Of `measure_it`, of one
                strategy.
            ax: Where.

        Example:
            >>> ax = plot_it(1)
        """

    assert parts_of(plot_it) == (
        "What it is.",
        "From left to right.",
        "`table`: of `measure_it`, of one strategy.",
        "ax = plot_it(1)\n",
    )


def test_names_lead_to_where_they_are_seen():
    seen = " ".join(seen_in()["analysis.ledger.ledger_terms"])
    assert "plot_waterfall" in seen and "07-forgetting-ledger" in seen


def test_a_page_of_each_room_shows_its_plots(tmp_path, monkeypatch):
    one = {"ledger.plot_waterfall": plots()["ledger.plot_waterfall"]}
    monkeypatch.setattr("docs.extension.gallery.plots", lambda: one)
    write_gallery(tmp_path)
    page = (tmp_path / "gallery/ledger.md").read_text()
    assert "ax = plot_waterfall(" in page and "made up" in page
    picture = tmp_path / "gallery/images/ledger.plot_waterfall.png"
    drawn = picture.stat().st_mtime_ns
    write_gallery(tmp_path)
    assert picture.stat().st_mtime_ns == drawn, "what did not change is kept"


# ---- pages that are written


@pytest.mark.parametrize("row", WHICH, ids=lambda row: row["plot"])
def test_a_question_leads_to_a_plot_and_a_function_that_are_there(row):
    assert row["plot"] in plots() and row["cannot"] and row["asks"].endswith("?")
    calls = {entry.name for entry in entries().values()}
    assert row["call"] in calls
    room = row["plot"].partition(".")[0]
    assert set(imported(plots()[row["plot"]].example)) or room


def test_every_experiment_answers_a_question():
    rooms = {name.partition(".")[0] for name in plots()}
    assert rooms == {row["plot"].partition(".")[0] for row in WHICH}


def test_the_readme_is_a_screen_and_a_half():
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 75


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_between_documents_lead_somewhere_in_the_repository(path):
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    made = {"made", "gallery"}  # by `make docs`, which looks itself
    dead = [
        link
        for link in links
        if not (path.parent / link).exists() and not made & set(Path(link).parts)
    ]
    assert dead == []


def test_links_lead_to_pages_where_there_are_any():
    text = "[a](CONTRIBUTING.md#a-dataset) [b](docs/start.md) [c](https://x.y) ![d](data/gallery/00-maps.png)"
    assert lead(text, REPOSITORY, DOCS) == (
        "[a](contributing.md#a-dataset) [b](start.md) [c](https://x.y) "
        "![d](../data/gallery/00-maps.png)"
    )
    back = lead(
        "[n](../../notebooks/00-start-here.ipynb)", DOCS / "howto", DOCS / "howto"
    )
    assert back == "[n](../tutorials/00-start-here.ipynb)"


def test_a_dead_link_is_found_and_no_other(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"></a><a href="b.html#there"></a>'
        '<a href="b.html#nowhere"></a><a href="c.html"></a><img src="d.png">'
        '<a href="https://x.y/z"></a></p>'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert dead_links(tmp_path) == [
        "a.html: b.html#nowhere",
        "a.html: c.html",
        "a.html: d.png",
    ]


def test_tutorials_show_what_was_executed_and_say_what_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr("docs.extension.tutorials.executed_folder", lambda: tmp_path)
    write_tutorials(tmp_path)
    index = (tmp_path / "tutorials/index.md").read_text()
    assert index.count("not executed |") == len(notebooks())
    stored = notebooks()[0]
    text = stored.read_text().replace(
        '"metadata": {\n  "kernelspec"',
        '"metadata": {\n  "papermill": {"duration": 12.4},\n  "kernelspec"',
    )
    (tmp_path / stored.name).write_text(text)
    write_tutorials(tmp_path)
    assert "| 12\N{NO-BREAK SPACE}s |" in (tmp_path / "tutorials/index.md").read_text()


def test_speeds_of_every_machine_stand_in_the_tables(tmp_path):
    write_tables(tmp_path)
    page = (tmp_path / "made/benchmarks.md").read_text()
    assert page.count("\n## ") + page.startswith("## ") == len(
        list(REPOSITORY.glob("data/benchmarks/*.csv"))
    )


# ---- code on pages


@pytest.mark.parametrize("name", ["aligner", "metric"])
def test_the_code_of_a_page_runs(name, tiny, tmp_path):
    runs = [fit(tiny, folder=tmp_path, progress=False)]
    text = (DOCS / "howto" / f"{name}.md").read_text(encoding="utf-8")
    known = set(ALIGNERS), set(METRICS)
    space = {"runs": runs, "__name__": name}
    try:
        for block in BLOCK.findall(text):
            exec(compile(block, f"{name}.md", "exec"), space)
        assert known != (set(ALIGNERS), set(METRICS))
    finally:
        for registry, names_before in zip((ALIGNERS, METRICS), known):
            for added in set(registry) - names_before:
                registry.pop(added)
        plt.close("all")


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_what_pages_import_is_there_and_takes_what_they_give(path):
    for block in BLOCK.findall(path.read_text(encoding="utf-8")):
        for dotted in imported(block):
            module, _, name = dotted.rpartition(".")
            if module.partition(".")[0] in ("cl_flow", "analysis"):
                value = getattr(importlib.import_module(module), name)
                _takes(block, name, value)


def _takes(block: str, name: str, value: object) -> None:
    """Whether a call by keywords in the block is one that the function knows."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
            known = inspect.signature(value).parameters
            given = {word.arg for word in node.keywords}
            assert given <= known.keys() or "kwargs" in known, name
