"""Expansion in sentences."""

__all__ = ["summarise_expansion"]

import pandas as pd

from analysis.intervals import Interval


def summarise_expansion(drops: pd.DataFrame, terms: pd.DataFrame) -> str:
    """Paragraph on what the first expansion changes.

    From tables of `expansion_drops` and `expansion_terms`.
    """
    added = drops["added"].min()
    first = drops[
        (drops["added"] == added)
        & (drops["category"] == "mean")
        & (drops["given"] == "category")
    ]
    changes = {
        (row.placement, row.entropy, row.part): Interval(row.change, row.low, row.high)
        for row in first.itertuples()
    }
    split = {
        row.term: Interval(row.value, row.low, row.high)
        for row in terms[terms["added"] == added].itertuples()
    }
    kept = [name for name in dict.fromkeys(first["placement"]) if name != "retile"]
    logp = _largest(changes, kept, "all", "logp")
    masked = _largest(changes, kept, "masked", "product")
    sentences = [
        f"Adding {added} centers and training nothing changed the mean image AUROC of "
        f"task 1 by {split['total']!r} "
        "under HGAD's tiling",
        f"at the same number of classes, {split['more classes']!r} comes with an "
        "entropy over more classes (orthogonal "
        f"centers) and {split['placement']!r} with where the tiling puts them",
        f"wherever old centers stay, the likelihood alone changed by {logp} at most, "
        "and the product with its entropy "
        f"masked to the classes of task 1 by {masked}",
    ]
    return "; ".join(sentences) + "."


def _largest(
    changes: dict[tuple[str, str, str], Interval],
    placements: list[str],
    entropy: str,
    part: str,
) -> str:
    """The change farthest from 0 over some placements.

    a dash where it was not measured.
    """
    values = [
        changes[key].value
        for name in placements
        if (key := (name, entropy, part)) in changes
    ]
    return f"{max(values, key=abs):.3g}" if values else "–"
