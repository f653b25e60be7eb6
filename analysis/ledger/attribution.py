"""Attribution: exact splits of a drop.

A state of a diagnosis is (flow, centers, mask): whose flow, whose centers, and whose
classes compete. Values may be numbers or arrays of bootstrap resamples; nothing here
knows how they were measured.
"""

__all__ = [
    "PLAYERS",
    "State",
    "TERMS",
    "ledger_split",
    "ledger_states",
    "shapley",
    "spurious_share",
]

from collections.abc import Mapping
from itertools import combinations
from math import factorial
from typing import TypeVar

import numpy as np

Value = TypeVar("Value", float, np.ndarray)
State = tuple[str, str, str]

PLAYERS = ("flow", "centers", "mask")

# Term -> the states whose values it adds and subtracts, by the names in
# `ledger_states`.
TERMS: dict[str, dict[str, int]] = {
    "confusion": {"masked": 1, "final": -1},
    "center drift": {"restored": 1, "masked": -1},
    "alignment": {"realigned": 1, "restored": -1, "refitted": -1, "learned": 1},
    "residual": {"refitted": 1, "realigned": -1},
}


def ledger_states(family: str) -> dict[str, State]:
    """States that a ledger compares, by name, as (flow, centers, mask).

    `learned` and `final` are the two models. On the way from `final` back, `masked`
    takes the classes that came later out of the competition, `restored` also has the
    old centers, and `realigned` has centers refitted to the new flow. `refitted` is
    what the same refit makes of the old flow, and `control` what it makes of a flow
    that learned nothing.
    """
    return {
        "learned": ("old", "old", "old"),
        "final": ("new", "new", "new"),
        "masked": ("new", "new", "old"),
        "restored": ("new", "old", "old"),
        "realigned": ("new", family, "old"),
        "refitted": ("old", family, "old"),
        "control": ("untrained", family, "old"),
    }


def ledger_split(values: Mapping[str, Value]) -> dict[str, Value]:
    r"""Split the drop from `learned` to `final` in four terms.

    They add up to it, whatever the values are.

    $$A_0 - A_T = \underbrace{A_1 - A_T}_{\text{confusion}}
    + \underbrace{A_2 - A_1}_{\text{center drift}}
      + \underbrace{(A_3 - A_2) - (A_{0r} - A_0)}_{\text{alignment}}
    + \underbrace{A_{0r} - A_3}_{\text{residual}}$$

    Args:
        values: A value for each name in `ledger_states`; `control` may be missing.

    Returns:
        The terms and their sum `drop`. With a control also `beyond`, how far the refit
        of the new flow exceeds that of a flow that learned nothing, and `reminded`, the
        part of alignment that lies above the control.

    Example:
        >>> found = {"learned": 1.0, "final": 0.5, "masked": 0.75, "restored": 0.75}
        >>> terms = ledger_split({**found, "realigned": 0.875, "refitted": 1.0})
        >>> terms["confusion"], terms["drop"]
        (0.25, 0.5)
    """
    terms = {}
    for name, signs in TERMS.items():
        terms[name] = sum(sign * values[state] for state, sign in signs.items())
    terms["drop"] = values["learned"] - values["final"]
    if "control" in values:
        end = values["realigned"]
        level = values["control"]
        terms["beyond"] = end - level
        above = _above(values["restored"], end, level)
        terms["reminded"] = terms["alignment"] * above
    return terms


def _above(start: Value, end: Value, level: Value) -> Value:
    """Part of a rise that lies above a level; 1 where nothing rises."""
    rise = np.asarray(end - start)
    covered = np.clip(level - start, 0, np.maximum(rise, 0))
    return 1 - covered / np.where(rise > 0, rise, 1)


def spurious_share(
    terms: Mapping[str, Value], *, alignment: str | None = "alignment"
) -> Value:
    """Share of the drop that is gone once centers and competitors are set right.

    (confusion + center drift + alignment) / drop. It is an upper bound on what was
    kept, since a refit teaches as well as it reminds: with `alignment="reminded"` only
    what lies above the refit of a flow that learned nothing counts, which is a lower
    bound; with None no refit counts at all.
    """
    refit = terms[alignment] if alignment else 0.0
    kept = terms["confusion"] + terms["center drift"] + refit
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(kept, terms["drop"])


def shapley(values: Mapping[frozenset[str], Value]) -> dict[str, Value]:
    r"""Contribution of each player, averaged over all orders in which they may join.

    The sum is what all add together.

    $$\phi_i = \sum_{S \not\ni i} \frac{|S|!\,(n-|S|-1)!}{n!}\,[v(S \cup i) - v(S)]$$

    References:
        A value for n-person games (Shapley, 1953)
        https://doi.org/10.1515/9781400881970-018

    Args:
        values: The value of every coalition, from the empty one to that of all.

    Raises:
        ValueError: A coalition is missing.

    Example:
        >>> worth = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 2.0}
        >>> worth[frozenset("ab")] = 5.0
        >>> shapley(worth)
        {'a': 2.0, 'b': 3.0}
    """
    players = sorted(frozenset().union(*values))
    n = len(players)
    # In one order in every process: sums of floats depend on it.
    sizes = range(n + 1)
    coalitions = [frozenset(c) for size in sizes for c in combinations(players, size)]
    missing = [sorted(c) for c in coalitions if c not in values]
    if missing:
        raise ValueError(
            f"Expected a value for each of {len(coalitions)} coalitions; got none for "
            f"{sorted(missing)}."
        )
    contributions = dict.fromkeys(players, 0.0)
    for c in coalitions:
        for player in set(players) - c:
            share = factorial(len(c)) * factorial(n - len(c) - 1) / factorial(n)
            gain = values[c | {player}] - values[c]
            contributions[player] = contributions[player] + share * gain
    return contributions
