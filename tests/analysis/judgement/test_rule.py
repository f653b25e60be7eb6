"""The rule by hand, over all of its words."""

import numpy as np
import pytest

from analysis.judgement.rule import MOST, PART, VERDICTS, words_of


@pytest.mark.parametrize(
    ("drop", "confusion", "kept", "back", "word"),
    [
        (0.0, 0.9, 0.0, 0.9, "undetermined"),
        (-0.1, 0.0, 0.9, 0.9, "undetermined"),
        (0.3, 0.9, 0.1, 0.1, "confused"),
        (0.3, 0.1, 0.9, 0.9, "reminded"),
        (0.3, 0.4, 0.6, 0.6, "mixed"),
        (0.3, 0.3, 0.0, 0.9, "mixed"),
        (0.3, 0.0, 0.3, 0.9, "mixed"),
        (0.3, 0.1, 0.1, 0.9, "relearned"),
        (0.3, 0.1, 0.1, 0.2, "lost"),
        (0.3, -0.5, -0.5, -0.5, "lost"),
    ],
)
def test_each_word_has_its_case(drop, confusion, kept, back, word):
    found = words_of(drop, confusion, kept, back)
    assert found.item() == word and word in VERDICTS


def test_every_word_of_the_rule_is_explained_and_can_be_said():
    grid = np.stack(np.meshgrid(*[np.linspace(-0.2, 1, 13)] * 4)).reshape(4, -1)
    assert set(words_of(*grid)) == set(VERDICTS)


def test_more_that_was_kept_never_makes_it_less():
    """With more of the drop kept a verdict moves from lost to reminded, not back."""
    order = ["lost", "relearned", "mixed", "reminded"]
    kept = np.linspace(-0.5, 1.0, 31)
    ranks = [order.index(w) for w in words_of(0.3, 0.0, kept, np.maximum(kept, 0.7))]
    assert ranks == sorted(ranks)


def test_what_is_not_known_is_not_said():
    assert words_of(0.3, np.nan, 0.9, 0.9) == "undetermined"
    assert words_of(0.3, 0.0, np.nan, 0.9) == "undetermined"
    assert words_of(np.nan, 0.9, 0.0, 0.0) == "undetermined"


def test_its_thresholds_are_shares():
    assert 0 < PART < MOST < 1
