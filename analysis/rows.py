"""Rows of tables: chosen, beside each other, or published."""

__all__ = [
    "ALIKE",
    "WHEN",
    "alike",
    "beside",
    "chosen",
    "first_and_last",
    "load_reference",
    "matching",
    "noting_sources",
    "of_tables",
    "refuse_strategies",
    "refuse_unlike",
    "step_of",
]

import functools
import inspect
import re
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from pandas.errors import UndefinedVariableError

from analysis.words import SOURCES
from cl_flow.calls import (
    bind,
    checked,
    fit_arguments,
    refuse_none,
    refuse_unknown,
)
from cl_flow.paths import ASSETS

P = ParamSpec("P")
R = TypeVar("R")

# Key columns in which runs agree that are averaged or set beside each other.
ALIKE = ("dataset", "stream", "setup")
WHEN = ("learnt", "last")


def alike(function: Callable[P, R]) -> Callable[P, R]:
    """As `of_tables`, for one that averages over runs, or sets them beside each other.

    Raises:
        ValueError: Runs of a table are not alike (`refuse_unlike`).
    """
    return _careful(function, refuse_unlike)


def of_tables(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function of tables refuse those that are none of its own.

    They hold rows, and the columns that the function reads.

    Raises:
        TypeError, ValueError: An argument is refused by `cl_flow.calls.checked`.
        ValueError: A table lacks rows or a column.
    """
    return _careful(function, lambda table: None)


def _careful(
    function: Callable[P, R], refuse: Callable[[pd.DataFrame], None]
) -> Callable[P, R]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def careful(*args: P.args, **options: P.kwargs) -> R:
        bound = bind(function, signature, args, options)
        fit_arguments(function, bound)
        tables = {
            name: value
            for name, value in bound.arguments.items()
            if isinstance(value, pd.DataFrame)
        }
        for name, table in tables.items():
            if table.empty:
                raise ValueError(
                    f"Expected {function.__name__}({name}=…) with rows; got a table "
                    "without any."
                )
            refuse(table)
        refuse_none(function, bound)
        try:
            result = function(*bound.args, **bound.kwargs)
            return noting_sources(result, *bound.arguments.values())
        except (MissingColumn, KeyError, AttributeError, UndefinedVariableError) as e:
            for name, table in tables.items():
                column = _missing_column(e, table)
                if column is not None and column not in table.columns:
                    raise MissingColumn(
                        _on_another_table(function, name, table, column), column
                    ) from e
            raise

    return careful


def noting_sources(result: R, *origins: object) -> R:
    """A result that says, if it is a table, from where imported runs come.

    Args:
        result: Anything; of a table the attribute `analysis.words.SOURCES` is set.
        *origins: What it is made of: tables and runs tell, other things do not.
    """
    told = [source for origin in origins for source in _sources_of(origin)]
    if told and isinstance(result, pd.DataFrame):
        own = result.attrs.get(SOURCES, ())
        result.attrs[SOURCES] = list(dict.fromkeys([*own, *told]))
    return result


def _sources_of(origin: object) -> list[str]:
    if isinstance(origin, pd.DataFrame):
        return origin.attrs.get(SOURCES, [])
    several = origin if isinstance(origin, list | tuple) else [origin]
    sources = [getattr(one, "source", "") for one in several]
    return [source for source in sources if source]


class MissingColumn(ValueError):
    """A table is another function's, as it lacks a column.

    Args:
        message: What was expected.
        column: The column that is missing.
    """

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def _missing_column(error: Exception, table: pd.DataFrame) -> str | None:
    """Column that was looked for in a table, if that is what an error says."""
    if isinstance(error, MissingColumn):
        return error.column
    if isinstance(error, AttributeError):
        # A row of `itertuples` is a tuple called Pandas.
        is_row = type(error.obj).__name__ == "Pandas"
        listed = "_fields" if is_row else "columns"
        names = getattr(error.obj, listed, ())
        names = error.obj.index if isinstance(error.obj, pd.Series) else names
        return error.name if set(names) & set(table.columns) else None
    asked = _asked_of_pandas(error)
    if asked is None or not set(asked.columns) & set(table.columns):
        return None
    if isinstance(error, UndefinedVariableError):
        found = re.search(r"name '(\w+)'", str(error))
        return found[1] if found else None
    said = error.args[0] if error.args else None
    if not isinstance(said, str) or said.startswith(("[", "None of", '"')):
        found = re.search(r"'([^']+)'", str(said))
        return found[1] if found else None
    return said


def _asked_of_pandas(error: Exception) -> pd.DataFrame | None:
    """Table whose method raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [frame.f_globals.get("__name__", "") for frame in frames]
    ours = [i for i, name in enumerate(names) if not name.startswith("pandas.")]
    if not ours:
        return None
    # A decorator of pandas has no self.
    methods = [f for f in frames[ours[-1] + 1 :] if "self" in f.f_locals]
    asked = methods[0].f_locals["self"] if methods else None
    if isinstance(asked, DataFrameGroupBy):
        asked = asked.obj
    return asked if isinstance(asked, pd.DataFrame) else None


def _on_another_table(
    function: Callable, name: str, table: pd.DataFrame, column: str
) -> str:
    """Sentence on a table that lacks a column, with what its docstring says of it."""
    entry = rf"^ +{name}: (.+?)(?:\n\n|\n +\w+: |\Z)"
    told = re.search(entry, inspect.getdoc(function) or "", re.M | re.S)
    meant = f" ({' '.join(told[1].split()).rstrip('.')})" if told else ""
    columns = ", ".join(map(str, table.columns[:12]))
    return (
        f"Expected {function.__name__}({name}=…){meant} with a column {column!r}; got "
        f"a table of {columns}."
    )


def chosen(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Rows that hold the given values, compared as text.

    Raises:
        ValueError: Values that no row holds, or a column that is not there.

    Example:
        >>> rows = pd.DataFrame({"part": ["logp", "product"], "value": [0.6, 0.9]})
        >>> chosen(rows, part="product")["value"].tolist()
        [0.9]
    """
    for column, value in values.items():
        if column not in frame.columns:
            columns = ", ".join(map(str, frame.columns))
            raise MissingColumn(
                f"Expected a table with a column {column!r}; got one of {columns}.",
                column,
            )
        present = frame[column].astype(str)
        if str(value) not in set(present):
            known = ", ".join(present.unique())
            raise ValueError(
                f"Expected rows with {column}={value!r}; there are: {known}."
            )
        frame = frame[present == str(value)]
    return frame


def matching(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Rows that hold the given values, which may be none.

    Example:
        >>> rows = pd.DataFrame({"part": ["logp", "product"], "value": [0.6, 0.9]})
        >>> len(matching(rows, part="entropy"))
        0
    """
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def refuse_strategies(frame: pd.DataFrame) -> None:
    """Refuse a table of several strategies.

    Raises:
        ValueError: The runs are of more than one strategy.
    """
    names = sorted(frame["strategy"].unique())
    if len(names) > 1:
        raise ValueError(f"Expected runs of one strategy; got {', '.join(names)}.")


def refuse_unlike(frame: pd.DataFrame) -> None:
    """Refuse a table of runs that differ in more than strategy and seed.

    Nor may a strategy stand there with several options, as a mean over its strengths
    says nothing of any of them.

    Raises:
        ValueError: Datasets, streams or setups differ, or options of one strategy.
    """
    for column in ALIKE:
        if column in frame:
            _refuse(column, frame[column], "")
    if {"strategy", "options"} <= set(frame.columns):
        for strategy, values in frame.groupby("strategy")["options"]:
            _refuse("options", values, f" of {strategy}")


def _refuse(column: str, values: pd.Series, whose: str) -> None:
    different = [repr(str(value)) for value in values.unique()]
    if len(different) > 1:
        raise ValueError(
            "Expected runs that differ in strategy and seed alone; got "
            f"{column}{whose} {', '.join(different)}. Choose one: "
            f"table[table[{column!r}] == {different[0]}]."
        )


def first_and_last(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each category when it was learned and under its run's last model.

    Learned it is after its own task, which a stream without boundaries has images of
    before; after the only step of a joint run.

    Args:
        rows: With the columns `run task category step`.

    Returns:
        The same columns, and `when`: `"learnt"` or `"last"`.
    """
    steps = rows.groupby(["run", "category"])["step"]
    last = steps.transform("max")
    learnt = rows["task"].clip(steps.transform("min"), last)
    ends = zip(WHEN, (learnt, last))
    return pd.concat(
        [rows[rows["step"] == step].assign(when=when) for when, step in ends]
    )


def step_of(rows: pd.DataFrame, step: int) -> int:
    """A step of a table counted from the first, where it may be from the last.

    Raises:
        IndexError: The table has no such step.
    """
    n = rows["step"].max() + 1
    if not -n <= step < n:
        raise IndexError(f"Expected a step between {-n} and {n - 1}; got {step}.")
    return range(n)[step]


@of_tables
def beside(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    *,
    names: tuple[str, str] = ("ours", "slides"),
) -> pd.DataFrame:
    """Put two tables with the same first column side by side, under two headings.

    Rows are matched by the first column as text, in the order of `ours`; what one table
    lacks is left empty.

    Example:
        >>> ours = pd.DataFrame({"task": ["0", "1"], "auroc": [0.6, 0.9]})
        >>> slides = pd.DataFrame({"task": ["0"], "auroc": [0.64]})
        >>> beside(ours, slides).columns.tolist()
        [('ours', 'auroc'), ('slides', 'auroc')]
    """
    key = ours.columns[0]
    ours = ours.set_index(ours[key].astype(str)).drop(columns=key)
    theirs = theirs.set_index(theirs[key].astype(str)).drop(columns=key)
    joined = pd.concat(dict(zip(names, (ours, theirs))), axis=1)
    return joined.reindex(ours.index)


@checked
def load_reference(name: str) -> pd.DataFrame:
    """Published table to show beside ours, from `data/reference`.

    Args:
        name: File name without suffix, such as `slides_task_table` (its README says
            where each comes from).

    Example:
        >>> load_reference("slides_task_table").columns.tolist()
        ['task', 'image_auroc', 'pixel_auroc']
    """
    files = {path.stem: path for path in (ASSETS / "reference").glob("*.csv")}
    refuse_unknown("reference", name, sorted(files))
    return pd.read_csv(files[name])
