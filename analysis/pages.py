"""Tables that a person reads: words, tasks from 1, intervals beside their estimates.

One door: `styled` gives notebook, report and paper the same table, and `shown` the
terminal.
"""

__all__ = ["Page", "shown", "styled"]

import html
import re
import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype
from pandas.io.formats.style import Styler

from analysis.words import COUNTED, SOURCES, counted, label_of
from cl_flow.calls import checked

WIDEST = 1008  # pixels of a cell of JupyterLab
WIDE, NARROW, PADDING = 8.2, 4.3, 13.0  # of letters, of signs, and around a cell
# Said once, above the table, where all rows agree.
KEYS = ("dataset", "stream", "setup", "options", "run", "strategy", "seed", "step")
KEYS += ("metric", "part", "given")
# Columns that hold names of code; the others' text is the reader's own.
WORDED = {"aligner", "centers", "claim", "entropy", "family", "flow", "given", "head"}
WORDED |= {"illness", "method", "metric", "order", "part", "placement", "player"}
WORDED |= {"policy", "probe", "quantity", "side", "space", "stage", "strategy", "term"}
WORDED |= {"slides: ours", "update", "versus", "x", "y"}
# A number of these past the cap says no more than that something ran away.
CAPPED, CAP = {"center_error", "symmetric_kl", "drift", "displacement"}, 100.0
COUNTS = {"n_bytes", "kept_bytes"}
DASH = "–"
DIVERGED, BEYOND = "diverged", f">{CAP:.0f}"  # an estimate, a bound
TIED = "\N{NO-BREAK SPACE}"  # holds a lower and an upper bound on one line
UPPER = " "  # heading of what were upper headings
INTERVAL = re.compile(r"(\[-?[\d.]+,) (-?[\d.]+\])")
NUMBER = re.compile(r"$|–$|-?[\d.,]+( \[.*\])?$")


@checked
def styled(table: pd.DataFrame, *, caption: str = "", digits: int = 3) -> "Page":
    r"""Return a table as a person reads it.

    Names are words, tasks count from 1, `low` and `high` stand beside their estimate,
    and what all rows share stands above, as does from where imported runs come. A table
    that would be wider than a page of JupyterLab has its upper headings, where there
    are two, in its rows, and intervals in two lines.

    Args:
        table: Any table of `analysis`; it stays as it is.
        caption: Above the table, before what all rows share.
        digits: After the point.

    Returns:
        A `Styler` of text. Its `.to_latex()` is escaped and needs
        `\usepackage{booktabs}`; names in other than Latin script need LuaLaTeX.

    Example:
        >>> styled(pd.DataFrame({"task": [0], "image_auroc": [0.98765]})).text
          task image AUROC
        0    1       0.988
    """
    frame, facts = _said_once(_with_index(table))
    text = _in_words(frame, digits)
    if _width(text) > WIDEST and _has_keys(text.columns):
        text = _stacked(text)
    if _width(text) > WIDEST:
        text = text.replace(TIED, " ", regex=True)  # intervals break in two lines
    sources = table.attrs.get(SOURCES, [])
    return _page(text, "; ".join(filter(None, [caption, *facts, *sources])))


@checked
def shown(table: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the text of `styled`, every column of it, for a terminal.

    Args:
        table: Any table of `analysis`.
        digits: After the point.
    """
    return _in_words(_with_index(table), digits)


class Page(Styler):
    """A table of text, and its LaTeX."""

    text: pd.DataFrame
    left: set[int]  # places of the columns that are no numbers
    said: str  # above the table

    def to_latex(self, buf: Any = None, **options: Any) -> Any:
        """Return the table as LaTeX, or write it.

        Args:
            buf: File or path; the text is returned by default.
            **options: For `pandas.io.formats.style.Styler.to_latex`.
        """
        text = self.text.map(_latex)
        text.columns = _renamed(text.columns, _latex)
        sides = ["l" if i in self.left else "r" for i in range(text.shape[1])]
        settings = {
            "hrules": True,
            "column_format": "".join(sides),
            "multicol_align": "c",
            "caption": _latex(self.said) or None,
            **options,
        }
        return Styler(text).hide(axis="index").to_latex(buf, **settings)


# ---- what is shown, and where


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as columns, if that says anything; without arrays."""
    silent = table.index.names == [None] and is_integer_dtype(table.index)
    frame = table.reset_index(drop=silent)
    if frame.columns.nlevels == 2:  # keys stand among the lower headings
        paths = [path if path[1] else path[::-1] for path in frame.columns]
        frame.columns = pd.MultiIndex.from_tuples(paths, names=frame.columns.names)
    is_array = [_is_array(values) for _, values in frame.items()]
    return frame.loc[:, ~np.array(is_array, dtype=bool)]


def _is_array(values: pd.Series) -> bool:
    return bool(values.map(lambda value: isinstance(value, list | np.ndarray)).any())


def _said_once(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table without keys in which all its rows agree, and these in words."""
    keys = [name for name in KEYS if name in frame.columns and len(frame) > 1]
    if frame.columns.nlevels > 1 or len(keys) == frame.shape[1]:
        return frame, []
    once = [name for name in keys if frame[name].nunique(dropna=False) == 1]
    return frame.drop(columns=once), [_fact(name, frame[name].iloc[0]) for name in once]


def _fact(name: str, value: Any) -> str:
    colon = "" if name in COUNTED else ":"
    return f"{label_of(name)}{colon} {_word(value, name)}"


def _in_words(frame: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Text under headings that are read."""
    bounds = _bounds(frame.columns)
    folded = {place for pair in bounds.values() for place in pair}
    kept = [place for place in range(frame.shape[1]) if place not in folded]
    columns = [_column(frame, place, bounds.get(place), digits) for place in kept]
    text = pd.concat(columns, axis=1)
    text.columns = _headings(frame.columns[kept])
    return text


def _bounds(columns: pd.Index) -> dict[int, tuple[int, int]]:
    """Place of each estimate, with the places of its lower and upper bound.

    Without a name before them, `low` and `high` are those of the column to the left.
    """
    paths = [path if isinstance(path, tuple) else (path,) for path in columns]
    tops = list(dict.fromkeys(str(path[0]) for path in paths))
    places = {(str(path[0]), *path[1:]): place for place, path in enumerate(paths)}
    found = {}
    for (top, *below), place in places.items():
        name, _, end = top.rpartition("_")
        high = places.get((f"{name}_high" if name else "high", *below))
        estimate = name or (tops[tops.index(top) - 1] if end == "low" else "")
        if end == "low" and high is not None and (estimate, *below) in places:
            found[places[(estimate, *below)]] = place, high
    return found


def _column(
    frame: pd.DataFrame, place: int, bounds: tuple[int, int] | None, digits: int
) -> pd.Series:
    """The cells of a column as text, with its bounds."""
    path = frame.columns[place]
    names = path if isinstance(path, tuple) else (path,)
    columns = [frame.iloc[:, one] for one in (place, *(bounds or ()))]
    texts = [_cells(values, names, digits) for values in columns]
    if bounds is None:
        return texts[0]
    cells = [
        value if low == DASH or value == DIVERGED else f"{value} [{low},{TIED}{high}]"
        for value, low, high in zip(*texts)
    ]
    return pd.Series(cells, index=frame.index).str.replace(f"{DIVERGED}]", f"{BEYOND}]")


# ---- cells and headings in words


def _cells(values: pd.Series, names: tuple[Any, ...], digits: int) -> pd.Series:
    counts = not set(COUNTED).isdisjoint(names) or not is_numeric_dtype(values)
    if counts or is_bool_dtype(values):
        return values.map(lambda value: _word(value, names[-1])).astype(object)
    whole = is_integer_dtype(values) or not COUNTS.isdisjoint(names)
    cap = np.inf if CAPPED.isdisjoint(names) else CAP
    cells = [_number(value, 0 if whole else digits, cap) for value in values]
    return pd.Series(cells, index=values.index, dtype=object)


def _word(value: Any, column: Any) -> str:
    """A value as text: counted from 1, in words, or as it is."""
    if value is None or value is pd.NA or value != value:
        return DASH
    if column in COUNTED:
        digits = str(value).removesuffix(".0")
        return str(counted(int(digits))) if digits.isdigit() else label_of(digits)
    if column in WORDED:
        return label_of(value, column=column)
    return INTERVAL.sub(rf"\1{TIED}\2", str(value))


def _number(value: float, digits: int, cap: float) -> str:
    """A number to some digits, fewer where it is large."""
    if pd.isna(value):
        return DASH
    if np.isinf(value) or abs(value) > cap:
        return DIVERGED
    digits = max(0, digits - int(np.log10(max(abs(value), 1.0))))
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # what is nothing has no sign


def _headings(columns: pd.Index) -> pd.Index:
    names = columns.names
    if columns.nlevels == 1:
        return pd.Index([_heading(name, names[0]) for name in columns], dtype=object)
    paths = [tuple(map(_heading, path, names)) for path in columns]
    return pd.MultiIndex.from_tuples(paths)


def _heading(name: Any, axis: Any) -> str:
    """Heading of a column, or of a value on an axis of a pivoted table."""
    if axis in COUNTED and str(name).isdigit():
        return f"{label_of(axis)} {counted(name)}"
    return label_of(name, column=axis or "")


# ---- on a page


def _page(text: pd.DataFrame, caption: str) -> Page:
    digest = blake2b(text.to_csv().encode(), digest_size=4).hexdigest()
    page = Page(text, uuid=digest, cell_ids=False)
    columns = enumerate(text.items())
    page.text, page.said = text, caption
    page.left = {i for i, (_, cells) in columns if not cells.map(_is_number).all()}
    looks = {"": f"max-width: {WIDEST}px", "caption": "text-align: left"}
    looks |= {f".col{i}": "text-align: left" for i in sorted(page.left)}
    if text.columns.nlevels == 2:
        looks["th.level0"] = "text-align: center"
    styles: Any = [{"selector": where, "props": look} for where, look in looks.items()]
    page.set_table_styles(styles).hide(axis="index")
    page.format(escape="html").format_index(escape="html", axis="columns")
    if caption:
        page.set_caption(html.escape(caption))
    return page


def _width(text: pd.DataFrame) -> float:
    """Pixels that a table takes at least, each line broken where it can be."""
    lower = text.columns.get_level_values(-1)
    columns = ([head, *text.iloc[:, i]] for i, head in enumerate(lower))
    words = ([word for cell in one for word in cell.split(" ")] for one in columns)
    return sum(max(map(_pixels, one)) + PADDING for one in words)


def _pixels(word: str) -> float:
    return sum(WIDE if character.isalnum() else NARROW for character in word)


def _has_keys(columns: pd.Index) -> bool:
    """Whether columns without an upper heading tell rows apart, by their own names."""
    if columns.nlevels != 2:
        return False
    keys, others = (
        {low for top, low in columns if bool(top) == is_top} for is_top in (0, 1)
    )
    return bool(keys) and keys.isdisjoint(others)


def _stacked(text: pd.DataFrame) -> pd.DataFrame:
    """The table with its upper headings in rows; what has none stands in the first."""
    upper = [top for top in dict.fromkeys(text.columns.get_level_values(0)) if top]
    alone = pd.DataFrame(text.xs("", axis=1))
    blocks = [
        pd.concat(
            [alone.iloc[:, :1], text.xs(top, axis=1).assign(**{UPPER: top})], axis=1
        )
        for top in upper
    ]
    blocks[0] = blocks[0].join(alone.iloc[:, 1:])
    stacked = pd.concat(blocks).sort_index(kind="stable").fillna("")
    stacked.iloc[:, 0] = stacked.iloc[:, 0].mask(stacked.index.duplicated(), "")
    stacked.insert(1, UPPER, stacked.pop(UPPER))
    return stacked.reset_index(drop=True)


def _is_number(cell: str) -> bool:
    return NUMBER.match(cell) is not None or cell == DIVERGED


# ---- LaTeX

MINUS = re.compile(r"(?<!\w)-(?=[\d.])")
ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"}
ESCAPES |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
ESCAPES |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
ESCAPES |= {TIED: "~"}
MATHEMATICS = {"−": "-", "≤": r"\leq", "≥": r"\geq", "→": r"\to", "∞": r"\infty"}
MATHEMATICS |= {"ρ": r"\rho", "Δ": r"\Delta", "Σ": r"\Sigma", "×": r"\times"}
ESCAPES |= {sign: rf"\ensuremath{{{code}}}" for sign, code in MATHEMATICS.items()}


def _latex(text: str) -> str:
    """Text with what LaTeX would take for a command escaped.

    A bracket or a star that begins a row would be taken for an option of the line break
    before it.
    """
    escaped = unicodedata.normalize("NFC", text).translate(str.maketrans(ESCAPES))
    escaped = MINUS.sub(r"\\ensuremath{-}", escaped)
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def _renamed(columns: pd.Index, change: Callable[[str], str]) -> pd.Index:
    if columns.nlevels == 1:
        return pd.Index([change(name) for name in columns])
    return pd.MultiIndex.from_tuples([tuple(map(change, path)) for path in columns])
