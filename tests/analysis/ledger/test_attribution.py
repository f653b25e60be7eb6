"""Splits that add up, Shapley values against their axioms."""

import os
import subprocess
import sys
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest

from analysis.ledger.attribution import (
    PLAYERS,
    TERMS,
    ledger_split,
    ledger_states,
    shapley,
    spurious_share,
)

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = tuple(ledger_states("full"))


def values(seed: int, shape: tuple[int, ...] = ()) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, np.random.default_rng(seed).random((len(NAMES), *shape))))


@pytest.mark.parametrize("seed", range(20))
def test_the_four_terms_add_up_to_the_drop(seed):
    states = values(seed, (50,))
    terms, drop = ledger_split(states), states["learned"] - states["final"]
    np.testing.assert_allclose(
        sum(terms[name] for name in TERMS), drop, atol=1e-12, rtol=0
    )
    assert np.array_equal(terms["drop"], drop)


def test_terms_by_hand():
    states = {
        "learned": 0.9,
        "final": 0.5,
        "masked": 0.55,
        "restored": 0.6,
        "realigned": 0.8,
        "refitted": 0.92,
    }
    assert not {"beyond", "reminded"} & set(ledger_split(states))
    terms = ledger_split({**states, "control": 0.7})
    expected = {
        "beyond": 0.1,
        "confusion": 0.05,
        "center drift": 0.05,
        "alignment": 0.18,
        "residual": 0.12,
    }
    for name, value in {**expected, "drop": 0.4}.items():
        assert terms[name] == pytest.approx(value), name
    assert terms["reminded"] == pytest.approx(0.18 * (0.8 - 0.7) / (0.8 - 0.6))
    assert spurious_share(terms) == pytest.approx(0.28 / 0.4)
    assert spurious_share(terms, alignment="reminded") == pytest.approx(0.19 / 0.4)
    assert spurious_share(terms, alignment=None) == pytest.approx(0.1 / 0.4)


@pytest.mark.parametrize(
    ("control", "share"), [(0.3, 1.0), (0.6, 1.0), (0.7, 0.5), (0.8, 0.0), (0.95, 0.0)]
)
def test_what_lies_above_the_control_reminded(control, share):
    states = {
        "learned": 0.8,
        "final": 0.5,
        "masked": 0.55,
        "restored": 0.6,
        "realigned": 0.8,
        "refitted": 0.8,
    }
    terms = ledger_split({**states, "control": control})
    assert terms["reminded"] == pytest.approx(share * terms["alignment"])


@pytest.mark.parametrize("seed", range(20))
def test_the_lower_bound_never_exceeds_the_upper_one_where_a_refit_helps(seed):
    terms = ledger_split(values(seed, (100,)))
    upper, lower = (
        terms[name][terms["alignment"] > 0] for name in ("alignment", "reminded")
    )
    assert (lower <= upper + 1e-12).all() and (lower >= 0).all()


def test_of_no_drop_there_is_no_share():
    assert np.isnan(spurious_share(ledger_split(dict.fromkeys(NAMES, 0.7))))


def coalitions(seed: int) -> dict[frozenset[str], float]:
    rng = np.random.default_rng(seed)
    return {
        frozenset(c): rng.random() for n in range(4) for c in combinations(PLAYERS, n)
    }


@pytest.mark.parametrize("seed", range(10))
def test_shapley_is_the_mean_over_orders_and_complete(seed):
    worth = coalitions(seed)
    found = shapley(worth)
    for player in PLAYERS:
        gains = []
        for order in permutations(PLAYERS):
            before = frozenset(order[: order.index(player)])
            gains.append(worth[before | {player}] - worth[before])
        assert found[player] == pytest.approx(np.mean(gains), abs=1e-12)
    assert sum(found.values()) == pytest.approx(
        worth[frozenset(PLAYERS)] - worth[frozenset()], abs=1e-12
    )


def test_an_idle_player_gets_nothing_and_equal_players_the_same():
    worth = {
        c: 1.0 * ("flow" in c) + 0.5 * ("flow" in c and "centers" in c)
        for c in coalitions(0)
    }
    assert shapley(worth)["mask"] == pytest.approx(0, abs=1e-12)
    symmetric = {c: float(len(c) ** 2) for c in coalitions(0)}
    assert len({round(value, 12) for value in shapley(symmetric).values()}) == 1
    with pytest.raises(ValueError, match="each of 8 coalitions; got none for .*'flow'"):
        shapley({c: v for c, v in worth.items() if c != {"flow"}})


def test_shapley_has_the_same_bits_in_every_process():
    code = (
        "from itertools import combinations\n"
        "from analysis.ledger.attribution import shapley\n"
        "parts = [frozenset(c) for n in range(4) for c in combinations('abc', n)]\n"
        "print(shapley({c: 0.1 * i**1.7 for i, c in enumerate(parts)}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1
