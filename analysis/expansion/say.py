"""Expansion in sentences."""

__all__ = ["summarise_expansion"]

import pandas as pd

from analysis.intervals import interval_of
from analysis.rows import alike, matching


@alike
def summarise_expansion(drops: pd.DataFrame, terms: pd.DataFrame) -> str:
    """Paragraph on what the first expansion changes.

    Args:
        drops: Of `expansion_drops`.
        terms: Of `expansion_terms`.

    Example:
        >>> from analysis.expansion import expansion_drops, expansion_terms
        >>> from analysis.expansion import measure_expansion
        >>> expanded = measure_expansion(run)
        >>> drops, terms = expansion_drops(expanded), expansion_terms(expanded)
        >>> print(summarise_expansion(drops, terms))
        Adding 3 centers and training nothing changed ...
    """
    added = drops["added"].min()
    first = matching(
        drops,
        added=added,
        category="mean",
        given="category",
    )
    rows = matching(terms, added=added).itertuples()
    split = {row.term: interval_of(row) for row in rows}
    kept = first[first["placement"] != "retile"]
    logp = _largest(
        matching(
            kept,
            entropy="all",
            part="logp",
        )
    )
    masked = _largest(
        matching(
            kept,
            entropy="masked",
            part="product",
        )
    )
    sentences = [
        f"Adding {added} centers and training nothing changed the mean image AUROC of "
        f"task 1 by {split['total']!r} under HGAD's tiling",
        f"at the same number of classes, {split['more classes']!r} comes with an "
        "entropy over more classes (orthogonal centers) "
        f"and {split['placement']!r} with where the tiling puts them",
        f"wherever old centers stay, the likelihood alone changed by {logp} at most, "
        f"and the product with its entropy masked to the classes of task 1 by {masked}",
    ]
    return "; ".join(sentences) + "."


def _largest(drops: pd.DataFrame) -> str:
    """The change farthest from 0; a dash where none was measured."""
    if drops.empty:
        return "–"
    largest = max(drops["change"], key=abs)
    return f"{largest:.3g}"
