"""Rows of tables: chosen, beside each other, or published."""

__all__ = [
    "ALIKE",
    "alike",
    "beside",
    "chosen",
    "load_reference",
    "matching",
    "refuse_strategies",
    "refuse_unlike",
]

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pandas as pd

from cl_flow.paths import ASSETS

P = ParamSpec("P")
R = TypeVar("R")

# Key columns in which runs agree that are averaged or set beside each other.
ALIKE = ("dataset", "stream", "setup")


def chosen(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Rows that hold the given values, compared as text.

    Values that no row holds are an error.

    Example:
        >>> rows = pd.DataFrame({"part": ["logp", "product"], "value": [0.6, 0.9]})
        >>> chosen(rows, part="product")["value"].tolist()
        [0.9]
    """
    for column, value in values.items():
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


def alike(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function refuse tables of runs that are not alike (`refuse_unlike`)."""

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        for value in (*args, *options.values()):
            if isinstance(value, pd.DataFrame):
                refuse_unlike(value)
        return function(*args, **options)

    return checked


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


def load_reference(name: str) -> pd.DataFrame:
    """Published table to show beside ours, from `data/reference`.

    Args:
        name: File name without suffix, such as `slides_task_table` (its README says
            where each comes from).
    """
    files = {path.stem: path for path in (ASSETS / "reference").glob("*.csv")}
    if name not in files:
        known = ", ".join(sorted(files))
        raise KeyError(f"Unknown reference {name!r}; known: {known}.")
    return pd.read_csv(files[name])
