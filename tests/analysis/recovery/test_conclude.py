"""Planted recovery curves are read right: areas, changes and halves by hand, and the
verdict that they deserve.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Resampling
from analysis.recovery.conclude import (
    recovery_changes,
    recovery_curves,
    recovery_halves,
    recovery_table,
    savings,
)
from analysis.recovery.measure import COLUMNS
from analysis.recovery.say import summarise_few_steps, summarise_recovery


def plant(run: str = "r", **curves: tuple[float, ...]) -> pd.DataFrame:
    """A table in which each probe's images are separated to the given degree, on two
    categories.
    """
    labels = np.array([0] * 20 + [1] * 20)
    rows = []
    for probe, values in curves.items():
        for n_steps, value in zip((0, 1, 3, 7), values):
            for category in ("a", "b"):
                rng = np.random.default_rng(list(category.encode()))
                scores = rng.normal(size=40) + value * labels
                rows.append(
                    (
                        run,
                        1,
                        probe,
                        "both",
                        5,
                        0.01,
                        n_steps,
                        0,
                        category,
                        "image_auroc",
                        "product",
                        labels,
                        scores,
                    )
                )
    columns = ["run", *COLUMNS, "labels"]
    frame = pd.DataFrame(rows, columns=[*columns, "scores"])
    learned = frame[(frame["probe"] == "forgotten") & (frame["n_steps"] == 7)]
    learned = learned.assign(probe="learned", update="none", shots=0, lr=0.0, n_steps=0)
    frame = pd.concat([frame, learned], ignore_index=True)
    wins = [(s[20:, None] > s[None, :20]).mean() for s in frame["scores"]]
    return frame.assign(value=wins)


@pytest.mark.parametrize(
    ("forgotten", "never", "verdict"),
    [
        ((0.2, 2.0, 2.5, 2.5), (0.2, 0.2, 0.4, 0.8), "something was kept"),
        (
            (0.5, 1.0, 1.5, 2.0),
            (0.5, 1.0, 1.5, 2.0),
            "do not tell reminding from teaching",
        ),
        ((0.2, 0.2, 0.4, 0.8), (0.2, 2.0, 2.5, 2.5), "less than the same steps teach"),
    ],
)
def test_planted_savings_are_read_right(forgotten, never, verdict):
    assert verdict in summarise_recovery(
        plant(forgotten=forgotten, never_learned=never)
    )


@pytest.mark.parametrize(
    ("untrained", "words"),
    [
        ((0.2, 0.2, 0.4, 0.8), "something was kept"),
        ((0.2, 2.0, 2.5, 2.5), "the lead need not be memory"),
    ],
)
def test_a_lead_is_memory_only_if_a_new_model_learns_slower_as_well(untrained, words):
    slow = (0.2, 0.2, 0.4, 0.8)
    curves = {"never_learned": slow, "untrained": untrained}
    said = summarise_recovery(plant(forgotten=(0.2, 2.0, 2.5, 2.5), **curves))
    assert words in said and "ahead of an untrained one" in said


def test_savings_are_the_area_between_the_curves():
    frame = plant(forgotten=(0.2, 2.0, 2.5, 2.5), never_learned=(0.2, 0.2, 0.4, 0.8))
    row = savings(frame, resampling=Resampling(n_resamples=100)).iloc[0]
    means = (
        frame[frame["probe"] != "learned"]
        .groupby(["probe", "n_steps"])["value"]
        .mean()
        .unstack("probe")
    )
    gap = (means["forgotten"] - means["never_learned"]).to_numpy()
    x = np.log1p(means.index)
    area = ((gap[1:] + gap[:-1]) / 2 * np.diff(x)).sum() / x[-1]
    assert row["versus"] == "never_learned" and row["savings"] == pytest.approx(
        area, abs=1e-12
    )
    assert (
        row["start"] == pytest.approx(gap[0], abs=1e-12)
        and row["low"] < area < row["high"]
    )
    twice = pd.concat([frame, frame.assign(run="again")], ignore_index=True)
    assert savings(twice, resampling=Resampling(n_resamples=100)).iloc[0][
        "savings"
    ] == pytest.approx(area, abs=1e-12)


def test_curves_and_changes_are_means_over_categories():
    frame = plant(forgotten=(0.2, 2.0, 2.5, 2.5))
    curve = (
        recovery_curves(frame, resampling=Resampling(n_resamples=100))
        .query("probe == 'forgotten'")
        .set_index("n_steps")
    )
    means = frame[frame["probe"] == "forgotten"].groupby("n_steps")["value"].mean()
    np.testing.assert_allclose(curve["value"], means)
    change = recovery_changes(frame, resampling=Resampling(n_resamples=100)).iloc[0]
    assert change["change"] == pytest.approx(means[7] - means[0]) and change["low"] > 0
    assert (change["start"], change["end"]) == pytest.approx((means[0], means[7]))


def test_no_number_is_a_mean_over_rates():
    """A table of two rates says of each what a table of it alone says."""
    fast = plant(forgotten=(0.2, 2.0, 2.5, 2.5), never_learned=(0.2, 0.2, 0.4, 0.8))
    slow = plant(forgotten=(0.2, 0.2, 0.2, 0.3), never_learned=(0.2, 0.2, 0.2, 0.2))
    slow = slow[slow["probe"] != "learned"].assign(lr=0.001)
    both = pd.concat([fast, slow], ignore_index=True)
    few = Resampling(n_resamples=100)
    for conclude in (recovery_curves, recovery_changes, savings):
        together = conclude(both, resampling=few)
        for lr, alone in ((0.01, fast), (0.001, slow)):
            of_rate = together[together["lr"] == lr].reset_index(drop=True)
            same = conclude(alone, resampling=few).query("lr > 0")
            pd.testing.assert_frame_equal(of_rate, same.reset_index(drop=True))
    halves = recovery_halves(both).query("probe == 'forgotten'").set_index("lr")
    assert halves["all"][0.01] > halves["all"][0.001]
    assert summarise_recovery(both) == summarise_recovery(fast)
    said = summarise_recovery(both, lr=0.001)
    assert said != summarise_recovery(both) and "at a rate of 0.001" in said
    with pytest.raises(ValueError, match="a rate that was tried, 0.001, 0.01; got 0.1"):
        summarise_recovery(both, lr=0.1)


def test_the_table_of_stages_takes_one_rate():
    fast = plant(forgotten=(0.2, 2.0, 2.5, 2.5))
    slow = plant(forgotten=(0.2, 0.2, 0.2, 0.3)).query("probe != 'learned'")
    both = pd.concat([fast, slow.assign(lr=0.001)], ignore_index=True)
    pd.testing.assert_frame_equal(recovery_table(both), recovery_table(fast))
    shots = {
        lr: recovery_table(both, lr=lr)["image_auroc"].mean() for lr in (0.01, 0.001)
    }
    assert shots[0.01] > shots[0.001]


def test_the_slides_one_step_is_said_in_a_sentence():
    meanings = {"batch": 1, "pass": 1, "meta-epoch": 8}
    said = summarise_few_steps(meanings, {"peak": 0.01, "last": 1e-5})
    assert "1 where it is a batch" in said and "8 where it is a meta-epoch" in said
    assert "0.01 (peak), 1e-05 (last)" in said


def test_halves_share_no_image_and_leave_none_out():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    scores = np.array([0.0, 1, 9, 1, 0, 1, 9, 1])
    row = (
        "r",
        1,
        "forgotten",
        "both",
        5,
        0.01,
        0,
        0,
        "a",
        "image_auroc",
        "product",
        0.5,
        labels,
        scores,
    )
    columns = [
        "run",
        "step",
        "probe",
        "update",
        "shots",
        "lr",
        "n_steps",
        "task",
        "category",
        "metric",
        "part",
        "value",
    ]
    halves = recovery_halves(
        pd.DataFrame([row], columns=[*columns, "labels", "scores"])
    )
    assert halves[["all", "first_half", "second_half"]].to_numpy().tolist() == [
        [0.5, 1.0, 0.0]
    ]


def test_what_is_not_in_the_table_is_named():
    with pytest.raises(ValueError, match="metric='image_auroc' and part='sum'"):
        recovery_curves(plant(forgotten=(1, 1, 1, 1)), part="sum")
