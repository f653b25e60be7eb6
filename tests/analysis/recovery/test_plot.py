"""Plots of planted recovery curves: what is drawn, where, in which colour and line."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.recovery.plot import plot_recovery, plot_recovery_cost
from analysis.style import task_color

PROBES = {
    "forgotten": 0.6,
    "never_learned": 0.5,
    "untrained": 0.4,
    "sham": 0.55,
    "held_out": 0.58,
}
STEPS = (0, 1, 10, 100)


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = []
    for step, probe in product((1, 3), PROBES):
        tasks = (0, step) if probe in ("forgotten", "sham") else (0,)
        for task, (i, n) in product(tasks, enumerate(STEPS)):
            value = PROBES[probe] + 0.1 * i - task
            rows.append((step, probe, "both", 5, 0.01, task, n, value))
    rows += [(step, "learned", "none", 0, 0.0, 0, 0, 0.95) for step in (1, 3)]
    columns = ["step", "probe", "update", "shots", "lr", "task", "n_steps", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(low=frame["value"] - 0.05, high=frame["value"] + 0.05)


def named(ax) -> dict:
    return {bars.get_label(): bars.lines[0] for bars in ax.containers}


def test_every_probe_is_a_line_with_bars(curves):
    ax = plot_recovery(curves)
    lines = named(ax)
    assert len(lines) == 5
    np.testing.assert_allclose(lines["forgotten"].get_ydata(), [0.6, 0.7, 0.8, 0.9])
    for bars in ax.containers:
        values = bars.lines[0].get_ydata()
        (segments,) = (bar.get_segments() for bar in bars.lines[2])
        ends = np.array([segment[:, 1] for segment in segments]).astype(float)
        np.testing.assert_allclose(ends, np.stack([values - 0.05, values + 0.05], 1))
    assert [label.get_text() for label in ax.get_xticklabels()] == list(map(str, STEPS))
    assert ax.get_xscale() == "symlog" and ax.get_ylabel() == "image AUROC of task 1"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines)


def test_bars_of_one_number_of_steps_stand_side_by_side(curves):
    places = np.array(
        [line.get_xdata() for line in named(plot_recovery(curves)).values()]
    )
    assert (np.diff(np.sort(places, axis=0), axis=0) > 0.02).all()
    np.testing.assert_allclose(np.median(places, axis=0), STEPS)


def test_levels_are_horizontal_lines_with_names_beside_the_axes(curves):
    ax = plot_recovery(curves)
    levels = {
        line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1
    }
    assert {0.95, 0.6, 0.5} <= levels
    right = ax.get_xlim()[1]
    assert {text.get_text(): text.xy for text in ax.texts} == {
        "just\nlearned": (right, 0.95),
        "before\nthe steps": (right, 0.6),
    }
    assert all(text.xyann[0] > 1 for text in ax.texts)  # beside the axes


def test_curves_of_several_rates_are_drawn_one_by_one(curves):
    slow = curves.assign(lr=curves["lr"] / 10, value=curves["value"] - 0.3)
    both = pd.concat([curves, slow[slow["probe"] != "learned"]])
    for lr, start in ((None, 0.6), (0.01, 0.6), (0.001, 0.3)):
        line = named(plot_recovery(both, lr=lr, ax=plt.figure().add_subplot()))
        assert line["forgotten"].get_ydata()[0] == pytest.approx(start)
        assert len(line["forgotten"].get_ydata()) == len(STEPS)


def test_colour_is_the_task_trained_on_and_controls_are_dashed(curves):
    lines = named(plot_recovery(curves, step=3))
    color = {name: to_hex(line.get_color()).upper() for name, line in lines.items()}
    assert color["forgotten"] == color["category left out"] == task_color(0).upper()
    assert color["newest task's images"] == task_color(3).upper()
    assert {lines[name].get_linestyle() for name in ("never learned", "untrained")} == {
        "--"
    }


def test_the_cost_is_drawn_of_the_newest_task(curves):
    ax = plot_recovery_cost(curves, step=3, legend=False)
    lines = named(ax)
    assert (
        set(lines) == {"forgotten", "newest task's images"} and ax.get_legend() is None
    )
    np.testing.assert_allclose(lines["forgotten"].get_ydata(), [-2.4, -2.3, -2.2, -2.1])
    assert ax.get_ylabel() == "image AUROC of task 4"


def test_what_is_not_in_the_table_is_named(curves):
    with pytest.raises(
        ValueError, match="step=2, update='both', shots=None, lr=None and task=0"
    ):
        plot_recovery(curves, step=2)
    with pytest.raises(ValueError, match="update='flow'"):
        plot_recovery_cost(curves, update="flow")


def test_what_a_step_may_mean_is_said_once_for_equal_numbers(curves):
    marks = {"batch": 1, "pass": 1, "meta-epoch": 8}
    ax = plot_recovery(curves, marks=marks)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0", "1\nbatch\n= pass", "8\nmeta-epoch", "10", "100"]
    np.testing.assert_array_equal(ax.get_xticks(), [0, 1, 8, 10, 100])
