"""Summaries of the R matrix against values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.conventions import (
    DEFINITIONS,
    avg_incremental,
    bwt,
    compare_conventions,
    field_names,
    final_mean,
    forgetting,
    fwt,
    intransigence,
    joint_gap,
    learning_score,
)
from analysis.scoring import METRICS

NAN = float("nan")
R = [
    [0.90, 0.60, 0.50],
    [0.95, 0.80, 0.55],
    [0.70, 0.84, 0.88],
]
LOWER = [
    [0.90, NAN, NAN],
    [0.95, 0.80, NAN],
    [0.70, 0.84, 0.88],
]
JOINT = [0.96, 0.90, 0.92]

BY_HAND = {
    "final_mean": (0.70 + 0.84 + 0.88) / 3,
    "learning_score": (0.90 + 0.80 + 0.88) / 3,
    "avg_incremental": (0.90 + (0.95 + 0.80) / 2 + (0.70 + 0.84 + 0.88) / 3) / 3,
    "bwt": (-0.20 + 0.04) / 2,
    "first_minus_last": (0.20 - 0.04) / 2,
    "forgetting": (0.25 - 0.04) / 2,
    "forgetting_from_any": (0.25 + 0.00) / 2,
    "forgetting_all_tasks": (0.20 - 0.04 + 0.00) / 3,
    "forgetting_relative": (0.20 / 0.90 - 0.04 / 0.80) / 2,
    "forgetting_over_steps": (-0.05 + (0.25 - 0.04) / 2) / 2,
    "intransigence": (0.06 + 0.10 + 0.04) / 3,
    "joint_gap": (0.26 + 0.06 + 0.04) / 3,
}


@pytest.mark.parametrize("matrix", [R, LOWER], ids=["full", "lower triangle"])
def test_every_convention_is_as_computed_by_hand(matrix):
    table = compare_conventions(matrix, JOINT).set_index("name")
    assert dict(table.value) == pytest.approx(BY_HAND, abs=1e-12)


@pytest.mark.parametrize(
    "summary", [final_mean, learning_score, avg_incremental, bwt, forgetting]
)
def test_functions_agree_with_the_table(summary):
    assert summary(LOWER) == pytest.approx(BY_HAND[summary.__name__], abs=1e-12)


@pytest.mark.parametrize("summary", [intransigence, joint_gap])
def test_functions_of_joint_training_agree_with_the_table(summary):
    assert summary(LOWER, JOINT) == pytest.approx(BY_HAND[summary.__name__], abs=1e-12)


def test_fwt_reads_the_diagonal_above():
    assert fwt(R, [0.5, 0.5, 0.6]) == pytest.approx(
        (0.60 - 0.5 + 0.55 - 0.6) / 2, abs=1e-12
    )
    assert np.isnan(fwt(LOWER, [0.5, 0.5, 0.5]))


def test_the_best_at_learning_makes_forgetting_minus_bwt():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = np.tril(np.sort(rng.uniform(0.5, 1, size=(6, 6)), axis=0)[::-1])
        assert forgetting(matrix) == pytest.approx(-bwt(matrix), abs=1e-12)


def test_forgetting_never_falls_short_of_the_loss_since_learning():
    rng = np.random.default_rng(1)
    for matrix in rng.uniform(size=(50, 5, 5)):
        assert forgetting(matrix) >= -bwt(matrix) - 1e-12


def test_gap_to_joint_is_intransigence_and_the_loss_over_all_tasks():
    table = compare_conventions(LOWER, JOINT).set_index("name").value
    assert table.joint_gap == pytest.approx(
        table.intransigence + table.forgetting_all_tasks, abs=1e-12
    )


def test_signs_say_which_way_a_loss_points():
    ruined = np.tril(np.full((4, 4), 0.5)) + 0.4 * np.eye(4)
    table = compare_conventions(ruined)
    losses, gains = (
        table[table.sign == "positive = loss"],
        table[table.sign == "negative = loss"],
    )
    assert len(losses) >= 5
    assert (losses.value > 0).all()
    assert list(gains.name) == ["bwt"]
    assert (gains.value < 0).all()


def test_the_table_names_its_columns_and_needs_no_joint_training():
    table = compare_conventions(LOWER)
    assert list(table) == [
        "name",
        "value",
        "sign",
        "averaged_over",
        "formula",
        "source",
    ]
    assert table.name.is_unique
    assert not {"intransigence", "joint_gap"} & set(table.name)
    assert table[["sign", "averaged_over", "formula"]].astype(bool).all(axis=None)


def test_several_metrics_stand_beside_each_other_with_their_definitions():
    table = compare_conventions({"image_auroc": LOWER, "mine": R})
    assert list(table["metric"].unique()) == ["image_auroc", "mine"]
    alone = compare_conventions(LOWER)
    first = table[table["metric"] == "image_auroc"]
    pd.testing.assert_frame_equal(first[alone.columns], alone)
    assert set(first["definition"]) == {DEFINITIONS["image_auroc"]}
    assert set(table[table["metric"] == "mine"]["definition"]) == {""}
    with pytest.raises(ValueError, match="one metric, .*got image_auroc"):
        compare_conventions({"image_auroc": LOWER}, JOINT)
    with pytest.raises(ValueError, match="one metric or more; got none"):
        compare_conventions({})


def test_every_metric_has_its_definition():
    assert set(DEFINITIONS) == set(METRICS)


def test_the_fields_names_are_three_of_the_conventions():
    table = compare_conventions(LOWER).set_index("name")["value"]
    names = field_names(LOWER)
    assert names["ACC"] == table["final_mean"] and names["BWT"] == table["bwt"]
    assert names["FM"] == table["forgetting"]


def test_one_task_forgets_nothing_knowable():
    assert (
        final_mean([[0.9]])
        == learning_score([[0.9]])
        == avg_incremental([[0.9]])
        == 0.9
    )
    assert np.isnan([bwt([[0.9]]), forgetting([[0.9]]), fwt([[0.9]], [0.5])]).all()
    assert compare_conventions([[0.9]], [0.95]).set_index(
        "name"
    ).value.joint_gap == pytest.approx(0.05)


def test_a_missing_measurement_stays_missing():
    matrix = np.array(LOWER)
    matrix[1, 0] = NAN
    assert np.isnan(forgetting(matrix))
    assert bwt(matrix) == pytest.approx(BY_HAND["bwt"])


@pytest.mark.parametrize(
    "matrix", [[0.9, 0.8], [[0.9, 0.8]], np.empty((0, 0)), np.zeros((2, 2, 2))]
)
@pytest.mark.parametrize(
    "summary",
    [final_mean, learning_score, avg_incremental, bwt, forgetting, compare_conventions],
)
def test_what_is_not_square_is_refused(summary, matrix):
    with pytest.raises(ValueError, match=r"Expected R of shape \(T, T\).*; got"):
        summary(matrix)


@pytest.mark.parametrize("summary", [intransigence, joint_gap, fwt])
def test_one_value_per_task_is_expected(summary):
    with pytest.raises(
        ValueError, match=r"Expected (joint|baseline) of shape \(3,\).*; got \(2,\)"
    ):
        summary(R, [0.9, 0.8])
