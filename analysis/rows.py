"""What every plot asks of its table first."""

__all__ = ["chosen"]

import pandas as pd


def chosen(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows that hold the given values."""
    for column, value in values.items():
        if value not in set(frame[column]):
            known = ", ".join(map(str, frame[column].unique()))
            raise ValueError(f"Expected rows with {column}={value!r}; there are: {known}.")
        frame = frame[frame[column] == value]
    return frame
