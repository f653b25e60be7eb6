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
            rows.append((step, probe, "both", 5, task, n, value))
    rows += [(step, "learned", "none", 0, 0, 0, 0.95) for step in (1, 3)]
    frame = pd.DataFrame(
        rows, columns=["step", "probe", "update", "shots", "task", "n_steps", "value"]
    )
    return frame.assign(low=frame["value"] - 0.05, high=frame["value"] + 0.05)


def named(ax) -> dict:
    return {
        line.get_label(): line
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def test_every_probe_is_a_line_and_those_to_compare_have_a_band(curves):
    ax = plot_recovery(curves)
    lines = named(ax)
    assert len(lines) == 5 and len(ax.collections) == 2
    np.testing.assert_allclose(lines["forgotten"].get_ydata(), [0.6, 0.7, 0.8, 0.9])
    assert list(lines["forgotten"].get_xdata()) == list(STEPS)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "0",
        "1",
        "10",
        "100",
    ]
    assert ax.get_xscale() == "symlog" and ax.get_ylabel() == "image AUROC of task 1"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines)


def test_levels_are_horizontal_lines_with_names(curves):
    ax = plot_recovery(curves)
    levels = {
        line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1
    }
    assert {0.95, 0.6, 0.5} <= levels
    assert {text.get_text(): text.xy[1] for text in ax.texts} == {
        "just learned": 0.95,
        "before the steps": 0.6,
    }
    sides = {text.get_text(): text.get_verticalalignment() for text in ax.texts}
    assert sides == {
        "just learned": "bottom",
        "before the steps": "top",
    }  # apart, however close the levels are


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
        ValueError, match="step=2, update='both', shots=None and task=0"
    ):
        plot_recovery(curves, step=2)
    with pytest.raises(ValueError, match="update='flow'"):
        plot_recovery_cost(curves, update="flow")


def test_what_a_step_may_mean_is_marked_once_for_equal_numbers(curves):
    marks = {"batch": 1, "pass": 1, "meta-epoch": 10}
    ax = plot_recovery(curves, marks=marks)
    texts = {text.get_text(): text.xy[0] for text in ax.texts}
    assert texts["batch = pass"] == 1 and texts["meta-epoch"] == 10
    bare = plot_recovery(curves, ax=plt.figure().add_subplot())
    assert "meta-epoch" not in {text.get_text() for text in bare.texts}
