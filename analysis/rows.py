"""Rows of tables: chosen, beside each other, or published."""

__all__ = ["beside", "chosen", "load_reference", "matching", "refuse_strategies"]

import pandas as pd

from cl_flow.paths import ASSETS


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
