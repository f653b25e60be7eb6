"""What refits show, in a headline."""

__all__ = ["reading_of_refits"]

import pandas as pd

from analysis.intervals import Interval, interval_of
from analysis.rows import alike, chosen


@alike
def reading_of_refits(
    terms: pd.DataFrame, *, part: str = "product", given: str = "category"
) -> str:
    """Headline of two lines on what refitted centers show of the flow.

    Args:
        terms: Of `ledger_terms`, by all tasks, of one strategy.
        part: Score part.
        given: `"category"` or `"None"`.

    Example:
        >>> from analysis.ledger import ledger_terms, measure_ledger
        >>> terms = ledger_terms(measure_ledger(run), by="all")
        >>> len(reading_of_refits(terms).splitlines())
        2
    """
    (row,) = chosen(terms, term="beyond", part=part, given=given).itertuples()
    beyond = interval_of(row)
    if beyond.low > 0:
        return (
            f"The new flow refits better than an untrained one,\nby {beyond!r}: "
            "it kept something"
        )
    ahead = f"An untrained flow refits as well (new one ahead by {beyond!r})"
    if beyond.high < 0:
        behind = Interval(-beyond.value, -beyond.high, -beyond.low)
        ahead = f"An untrained flow refits better, by {behind!r}"
    return f"{ahead}:\nwhat a refit gives back is no sign of what the flow kept"
