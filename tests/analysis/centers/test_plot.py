"""Plots of planted centers: what is drawn, where, in which colour."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.centers.plot import (
    plot_center_distances,
    plot_center_drift,
    plot_similarity,
)
from analysis.style import task_color, text_color

TASK = {"ant": 0, "bee": 0, "cat": 1}


@pytest.fixture
def distances():
    """Two categories 5 apart, then a third at 2.7 from both."""
    rows = []
    for step, names in enumerate((["ant", "bee"], ["ant", "bee", "cat"])):
        for a, b in product(names, names):
            apart = 5.0 if TASK[a] == TASK[b] else 2.7
            distance = 0.0 if a == b else apart
            rows.append((step, "mean", TASK[a], a, TASK[b], b, distance))
    columns = ["step", "level", "task", "category", "other_task", "other", "distance"]
    return pd.DataFrame(rows, columns=columns).assign(
        run="r", strategy="finetune", seed=0
    )


@pytest.fixture
def pairs():
    rows = [
        ("ant", "bee", 1.0, 5.0),
        ("ant", "cat", 2.0, 4.0),
        ("bee", "cat", 3.0, 2.7),
    ]
    frame = pd.DataFrame(
        rows, columns=["category", "other", "feature_distance", "center_distance"]
    )
    tasks = {
        "task": frame["category"].map(TASK),
        "other_task": frame["other"].map(TASK),
    }
    return frame.assign(
        **tasks, step=0, level="mean", strategy="finetune", run="r", seed=0
    )


@pytest.fixture
def correlated():
    row = {
        "step": 0,
        "x": "feature_distance",
        "y": "center_distance",
        "rho": -1.0,
        "low": np.nan,
        "high": np.nan,
    }
    return pd.DataFrame([row])


def test_distances_are_written_and_the_diagonal_is_left_white(distances):
    ax = plot_center_distances(distances)
    assert [text.get_text() for text in ax.texts] == [
        "5.0",
        "2.7",
        "5.0",
        "2.7",
        "2.7",
        "2.7",
    ]
    assert ax.get_title(loc="right") == "after task 2"


def test_names_carry_their_tasks_colour_and_lines_part_the_tasks(distances):
    ax = plot_center_distances(distances)
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(TASK)
        assert [to_hex(label.get_color()).upper() for label in labels] == [
            text_color(t) for t in TASK.values()
        ]
    assert [
        line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1
    ] == [2]
    assert not plot_center_distances(distances, step=0).lines[2:]


def test_one_colour_scale_holds_for_all_steps(distances):
    limits = [
        plot_center_distances(distances, step=step).collections[-1].get_clim()
        for step in (0, 1)
    ]
    assert limits[0] == limits[1] == (2.7, 5.0)


def test_drift_is_a_line_per_category_from_where_it_was_learnt():
    rows = [
        (t, "mean", TASK[name], name, 0.5 * (t - TASK[name]))
        for name in TASK
        for t in range(TASK[name], 3)
    ]
    drift = pd.DataFrame(
        rows, columns=["step", "level", "task", "category", "distance"]
    ).assign(strategy="finetune")
    ax = plot_center_drift(drift)
    assert [line.get_label() for line in ax.lines] == list(TASK)
    assert [line.get_color() for line in ax.lines] == [
        task_color(t) for t in TASK.values()
    ]
    np.testing.assert_allclose(ax.lines[2].get_xydata(), [[1, 0], [2, 0.5]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]
    names = {text.get_text(): text for text in ax.texts}
    assert list(names) == list(TASK) and ax.get_legend() is None
    for line in ax.lines:
        name = names[line.get_label()]
        assert name.xy == tuple(line.get_xydata()[-1])
        assert name.get_color() == text_color(TASK[line.get_label()])


def test_pairs_within_a_task_carry_its_colour_above_the_grey_others(pairs, correlated):
    ax = plot_similarity(pairs, correlated)
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), [[2, 4], [3, 2.7], [1, 5]])
    assert [to_hex(color).upper() for color in points.get_facecolor()] == [
        "#BFBFBF",
        "#BFBFBF",
        task_color(0),
    ]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "both of task 1",
        "both of task 2",
        "different tasks",
    ]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature distance", "center distance")


@pytest.mark.parametrize(("values", "title"), [
    ((-1.0, np.nan, np.nan), "rank correlation −1.00"),
    ((0.5, -0.25, 0.75), "rank correlation 0.50\n[−0.25, 0.75], holds 0"),
    ((0.5, 0.25, 0.75), "rank correlation 0.50\n[0.25, 0.75], without 0"),
    ((np.nan, np.nan, np.nan), "no rank correlation\n(all equal)"),
])  # fmt: skip
def test_the_title_holds_the_correlation_and_its_interval(
    pairs, correlated, values, title
):
    correlated[["rho", "low", "high"]] = [values]
    ax = plot_similarity(pairs, correlated, legend=False)
    assert title in {ax.get_title(loc=loc) for loc in ("left", "center", "right")}


def test_wrong_input_is_named(distances, pairs, correlated):
    with pytest.raises(ValueError, match="level='9'; there are: .*mean"):
        plot_center_distances(distances, level="9")
    with pytest.raises(ValueError, match="one strategy; got finetune, joint"):
        plot_center_distances(
            pd.concat([distances, distances.assign(strategy="joint")])
        )
    with pytest.raises(ValueError, match="correlations=….* with rows; got a table wi"):
        plot_similarity(pairs, correlated[:0])
