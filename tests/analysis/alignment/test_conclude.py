"""Conclusions on alignment, of tables whose truth was planted."""

import numpy as np
import pandas as pd
import pytest

from analysis.alignment.conclude import alignment_table
from analysis.alignment.say import summarise_alignment
from analysis.intervals import Resampling
from analysis.metrics import image_auroc


def planted(**shift: float) -> pd.DataFrame:
    """A table whose approaches score old anomalies so much higher."""
    rng = np.random.default_rng(0)
    rows = []
    labels = np.repeat([0, 1], 150)
    noise = rng.normal(size=300)
    for key, up in shift.items():
        aligner, _, head = key.partition("__")
        for task, category in enumerate("ab"):
            scores = noise + up * labels
            auroc = ("image_auroc", "product", image_auroc(labels, scores))
            rows.append((aligner, head, task, category, *auroc, labels, scores))
        rows.append((aligner, head, 0, "a", "center_error", "", up, None, None))
        rows.append((aligner, head, 0, "a", "symmetric_kl", "", up, None, None))
    columns = [
        "aligner",
        "head",
        "task",
        "category",
        "metric",
        "part",
        "value",
        "labels",
        "scores",
    ]
    return pd.DataFrame(rows, columns=columns).assign(
        run="r", strategy="finetune", n_bytes=1, seconds=0.0
    )


def test_shares_and_gaps_are_relative_to_none_oracle_and_joint():
    table = alignment_table(
        planted(none=0.0, sdc__means=0.6, refit__means=1.0, refit__full=2.0, joint=3.0)
    )
    at = table.set_index(["aligner", "head"])
    sdc = at.loc[("sdc", "means")]
    assert at.loc[("none", ""), "share"] == 0
    assert at.loc[("refit", "full"), "share"] == 1
    assert 0 < sdc["share_low"] <= sdc["share"] < 1
    assert at.loc[("joint", ""), "gap"] == 0 and sdc["gap_high"] < 0
    assert sdc[["center_error_low", "center_error_high"]].tolist() == [0.6, 0.6]
    assert table["aligner"].iloc[0] == "joint" and sdc["center_error"] == 0.6


def test_there_is_no_share_of_a_gain_that_is_none():
    table = alignment_table(
        planted(none=1.0, sdc__means=1.1, refit__means=1.0, refit__full=1.0, joint=1.2)
    )
    assert table["share"].isna().all() and table["gap"].notna().all()


@pytest.mark.parametrize(
    ("none", "means", "full", "words"),
    [
        (0.0, 3.0, 3.0, "centers alone are the culprit"),
        (0.0, 1.0, 3.0, "means and covariances together"),
        (0.0, 1.0, 1.5, "some of it is forgotten"),
        (3.0, 3.0, 3.0, "no loss to attribute"),
    ],
)
def test_the_decision_rule_says_what_was_planted(none, means, full, words):
    table = alignment_table(
        planted(
            none=none, sdc__means=0.6, refit__means=means, refit__full=full, joint=3.0
        )
    )
    text = summarise_alignment(table)
    assert words in text and "the best aligner is SDC (means)" in text
    assert "nan" not in text
    with pytest.raises(ValueError, match="rows of none, joint and refit"):
        summarise_alignment(table[table["aligner"] != "joint"])


def test_resamples_in_which_the_oracle_gains_nothing_leave_the_share_its_interval():
    """Three images of each label: many a resample separates them under both."""
    table = planted(none=0.0, sdc__means=0.0, refit__full=1.0, joint=1.0)
    old = (table["task"] == 0) & (table["metric"] == "image_auroc")
    labels = np.array([0, 0, 0, 1, 1, 1])
    of = {"none": [0, 1, 5, 3, 4, 6], "sdc": [0, 1, 5, 4, 3, 6]}
    for i in table.index[old]:
        scores = of.get(table.at[i, "aligner"], [0, 1, 2, 4, 5, 6])
        table.at[i, "labels"] = labels
        table.at[i, "scores"] = np.array(scores, dtype=float)
    rows = alignment_table(table, resampling=Resampling(confidence=0.2))
    at = rows.set_index("aligner")
    assert at.loc["none", ["share", "share_low", "share_high"]].tolist() == [0, 0, 0]
    assert at.loc["refit", ["share", "share_low", "share_high"]].tolist() == [1, 1, 1]
