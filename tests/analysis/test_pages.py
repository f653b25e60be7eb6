"""Tables that are shown: in words, from 1, within a page, and as LaTeX that compiles."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import beside, load_reference
from analysis.conventions import compare_conventions
from analysis.pages import WIDEST, _width, shown, styled
from cl_flow.paths import ASSETS

HARD = [
    r"a_b & 50% #1 {x} $5 ~ ^ \ <i>",
    "crème brûlée",
    "cafe\N{COMBINING ACUTE ACCENT}",
]
HARD += ["[1] first", "* starred", "− ≤ ≥ → ∞ ρ Δ Σ ×"]
REFERENCES = sorted(path.stem for path in (ASSETS / "reference").glob("*.csv"))


def hard() -> pd.DataFrame:
    """Names and numbers that a page or LaTeX would trip over."""
    numbers = [0.98765, -1e-9, 2.7e10, np.nan, np.inf, 123456.0]
    table = pd.DataFrame({"category": HARD, "task": range(6), "n_bytes": 6 * [1e7]})
    table["center_error"] = numbers
    table = table.assign(center_error_low=0.1, center_error_high=3e8)
    table["seconds"] = [1e-9, 0.5, 12.0, 123.4, 1e5, 1e7]
    return table.assign(labels=6 * [np.arange(3)])


def pivoted() -> pd.DataFrame:
    """Estimates and their bounds, each over the same lower headings."""
    rows = [(step, quantity) for step in range(3) for quantity in "ab"]
    long = pd.DataFrame(rows, columns=["step", "quantity"])
    long = long.assign(value=0.5, low=0.25, high=0.75)
    return long.pivot(index="step", columns="quantity", values=["value", "low", "high"])


def two_headings() -> pd.DataFrame:
    """Two headings of eight intervals each, and a key."""
    tops = {
        top: {f"q{i}": ["0.500 [0.250, 0.750]"] * 2 for i in range(8)} for top in "ab"
    }
    sides = {top: pd.DataFrame(cells) for top, cells in tops.items()}
    return pd.concat(sides, axis=1).set_index(pd.Index(["ewc", "lwf"], name="method"))


def many_intervals() -> pd.DataFrame:
    """One heading, and a dozen intervals a row."""
    names = [f"q{i}" for i in range(12)]
    ends = {f"{name}{end}": 0.5 for name in names for end in ("", "_low", "_high")}
    return pd.DataFrame([ends, ends])


TABLES = {
    "many intervals": many_intervals(),
    "hard": hard(),
    "pivoted": pivoted(),
    "two headings": two_headings(),
    "conventions": compare_conventions([[0.9, np.nan], [0.5, 0.8]], [0.9, 0.9]),
    **{name: load_reference(name) for name in REFERENCES},
}
each_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def texts(frame: pd.DataFrame) -> list[str]:
    """All cells and headings."""
    heads = [str(part) for path in frame for part in np.atleast_1d(path)]
    return [*heads, *map(str, frame.to_numpy().ravel())]


@each_table
def test_it_is_text_in_words_within_a_page(table):
    before = table.copy(deep=True)
    page = styled(table, caption="50 % & more")
    pd.testing.assert_frame_equal(table, before)
    assert all(isinstance(cell, str) for cell in page.text.to_numpy().ravel())
    assert not [text for text in texts(page.text) if re.search(r"\d[eE][+-]?\d", text)]
    assert not [head for head in texts(page.text[:0]) if "_" in head]
    assert _width(page.text) <= WIDEST
    assert f"max-width: {WIDEST}px" in page.to_html()
    assert page.to_html() == styled(table, caption="50 % & more").to_html()


@each_table
def test_its_latex_is_escaped(table):
    latex = styled(table, caption="50 % & more").to_latex()
    assert r"\caption{50 \% \& more" in latex and r"\toprule" in latex
    assert not re.search(r"(?<!\\)[%#$]|(?<!\\)_", latex)
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert not [row for row in rows if row.startswith(("[", "*"))]
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)
    plain = [row for row in rows if r"\multicolumn" not in row]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in plain} == {len(columns) - 1}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX is installed")
def test_latex_compiles(tmp_path):
    pages = [
        styled(table, caption="50 % & more").to_latex() for table in TABLES.values()
    ]
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    (tmp_path / "all.tex").write_text("\n".join([*lines, *pages, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_html_is_escaped():
    page = styled(hard(), caption="<b>").to_html()
    assert "<i>" not in page and "&lt;i&gt;" in page and "&lt;b&gt;" in page


def test_tasks_count_from_1_wherever_they_stand():
    rows = pd.DataFrame({"task": ["0", "1", "average"], "value": [0.1, 0.2, 0.15]})
    assert shown(rows)["task"].tolist() == ["1", "2", "average"]
    matrix = pd.DataFrame(
        np.eye(2),
        index=pd.Index([0, "features"], name="step"),
        columns=pd.Index([0, 1], name="task"),
    )
    text = shown(matrix)
    assert list(text) == ["after task", "task 1", "task 2"]
    assert text["after task"].tolist() == ["1", "features"]
    slides = load_reference("slides_task_table")
    both = styled(beside(slides, slides)).text
    assert both["", "task"].tolist() == ["1", "2", "3", "4", "5", "average"]


def test_what_all_rows_share_is_said_once_above():
    rows = pd.DataFrame({"step": [4, 4], "part": ["logp"] * 2, "task": [0, 1]})
    page = styled(rows, caption="Purity")
    assert page.said == "Purity; after task 5; part: likelihood"
    assert list(page.text) == ["task"] and list(shown(rows)) == [
        "after task",
        "part",
        "task",
    ]
    one = styled(rows[:1])
    assert not one.said and list(one.text) == ["after task", "part", "task"]


def test_bounds_stand_beside_their_estimate():
    rows = pd.DataFrame(
        {"share": [0.5], "share_low": [0.25], "share_high": [np.nan]}
        | {"change": [-0.5], "low": [-0.75], "high": [-0.0001]}
    )
    text = shown(rows).iloc[0].str.replace("\N{NO-BREAK SPACE}", " ")
    assert text.to_dict() == {
        "share": "0.500 [0.250, –]",
        "change": "-0.500 [-0.750, 0.000]",
    }
    seeds = shown(rows.assign(low=np.nan, high=np.nan))
    assert seeds["change"].tolist() == ["-0.500"]
    assert shown(pivoted())["value", "a"].str.contains("[", regex=False).all()


def test_numbers_say_no_more_than_they_mean():
    text = shown(hard())
    far = [cell.partition(" ")[0] for cell in text["center error"]]
    assert far == ["0.988", "0.000", "diverged", "–", "diverged", "diverged"]
    assert text["center error"][0].endswith(">100]")
    assert text["bytes kept"].tolist() == ["10,000,000"] * 6
    assert text["seconds"].tolist()[2:] == ["12.00", "123.4", "100,000", "10,000,000"]
    assert "labels" not in text


def test_a_table_too_wide_has_its_upper_headings_in_rows():
    narrow = two_headings()[["a"]].iloc[:, :2]
    assert styled(narrow).text.columns.nlevels == 2
    wide = styled(two_headings()).text
    assert wide.iloc[:, 1].tolist() == ["a", "b", "a", "b"]
    assert wide["method"].tolist() == ["EWC", "", "LwF", ""]


def test_odd_tables_are_shown_as_they_are():
    keys = pd.DataFrame({"step": [4, 4], "part": ["logp", "logp"]})
    assert list(styled(keys).text) == ["after task", "part"]
    assert styled(pd.DataFrame({"task": [], "value": []})).text.empty
    unnamed = two_headings().reset_index(drop=True)
    assert styled(unnamed).text.columns.nlevels == 2
    numbers = pd.DataFrame({"value": pd.array([1, None], dtype="Int64")})
    assert shown(numbers)["value"].tolist() == ["1", "–"]


def test_words_are_for_code_and_not_for_folders():
    rows = pd.DataFrame(
        {"category": ["metal_nut", "none"], "aligner": ["figmn", "none"]}
    )
    text = shown(rows)
    assert text["category"].tolist() == ["metal_nut", "none"]
    assert text["aligner"].tolist() == ["FIGMN", "as it is"]


def test_there_is_one_door():
    """Whatever gives a person a table goes through `styled` or `shown`."""
    found = set()
    for path in Path(analysis.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                if re.search("Styler|Page", ast.unparse(node.returns)):
                    found.add(node.name)
            if isinstance(node, ast.Attribute) and node.attr in ("to_html", "to_latex"):
                assert re.search("styled|Styler", ast.unparse(node.value)), path
    assert found == {"styled", "_page"}
