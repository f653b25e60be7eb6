"""Plots of planted expansions: what is drawn, where, in which colour."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.expansion.plot import plot_expansion, plot_expansion_size, plot_stages
from analysis.style import TASK_COLORS, task_color

PLACES = {"tile": -0.2, "retile": -0.3, "orthogonal": -0.1, "data": -0.15}
PARTS = ("logp", "entropy", "product")


@pytest.fixture
def drops() -> pd.DataFrame:
    rows = [
        (place, part, added, category, PLACES[place])
        for place, part, added, category in product(
            PLACES, PARTS, (3, 6), ("a", "b", "mean")
        )
    ]
    columns = ["placement", "part", "added", "category", "change"]
    frame = pd.DataFrame(rows, columns=columns).assign(before=0.9)
    return frame.assign(
        entropy="all",
        given="category",
        after=0.9 + frame["change"],
        low=frame["change"] - 0.05,
        high=frame["change"] + 0.05,
    )


def test_each_placement_has_its_mean_and_interval_at_each_part(drops):
    ax = plot_expansion(drops)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "likelihood",
        "entropy,\nall classes",
        "product,\nall classes",
    ]
    tiled = ax.containers[0]
    assert tiled.get_label() == "tiled (HGAD)"
    np.testing.assert_allclose(tiled.lines[0].get_ydata().astype(float), [-0.2] * 3)
    np.testing.assert_allclose(
        tiled.lines[2][0].get_segments()[0][:, 1], [-0.25, -0.15]
    )
    assert (
        len({round(x, 3) for c in ax.containers for x in c.lines[0].get_xdata()}) == 12
    )
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "tiled (HGAD)",
        "orthogonal",
        "means of the data",
        "all tiled anew",
        "one category",
    ]


def test_the_likelihood_stands_once_beside_entropies_of_several_kinds(drops):
    lower = drops.assign(entropy="masked", change=-0.4, low=-0.5, high=-0.3)
    both = pd.concat([drops, lower])
    ax = plot_expansion(both, entropy=("all", "masked"), legend=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "likelihood",
        "entropy,\nall classes",
        "product,\nall classes",
        "entropy,\ntask 1",
        "product,\ntask 1",
    ]
    means = ax.containers[0].lines[0].get_ydata().astype(float)
    np.testing.assert_allclose(means, [-0.2] * 3 + [-0.4] * 2)


def test_placements_are_not_in_the_colours_of_tasks(drops):
    colors = {
        to_hex(container.lines[0].get_color()).upper()
        for container in plot_expansion(drops, legend=False).containers
    }
    assert len(colors) == 4 and not colors & {color.upper() for color in TASK_COLORS}


def test_size_draws_a_line_a_placement_from_one_model_with_intervals(drops):
    ax = plot_expansion_size(drops, legend=False)
    lines = {container.get_label(): container for container in ax.containers}
    assert len(lines) == 4 and ax.get_legend() is None
    tiled = lines["tiled (HGAD)"]
    np.testing.assert_allclose(
        tiled.lines[0].get_ydata().astype(float), [0, -0.2, -0.2]
    )
    bars = np.array([bar[:, 1] for bar in tiled.lines[2][0].get_segments()])
    np.testing.assert_allclose(
        bars.astype(float), [[0, 0], [-0.25, -0.15], [-0.25, -0.15]]
    )
    assert list(ax.get_xticks()) == [0, 3, 6] and ax.get_xlabel() == "added classes"


def test_an_axis_of_changes_does_not_blow_up_noise(drops):
    still = drops.assign(change=0.001, low=-0.001, high=0.002)
    low, high = plot_expansion_size(still).get_ylim()
    assert low <= -0.05 and high >= 0.05


def test_fifteen_tasks_leave_room_between_the_ticks(drops):
    many = [drops.query("added == 3").assign(added=added) for added in range(1, 15)]
    ticks = plot_expansion_size(pd.concat(many)).get_xticks()
    assert ticks[0] == 0 and len(ticks) <= 8


@pytest.mark.parametrize(
    "stages",
    [
        ("after_task_1", "expanded_for_task_2"),
        ("after_task_1", "after_task_2", "few_shot"),
    ],
)
def test_stages_lie_on_the_line_of_their_category(stages):
    rows = [
        (stage, name, 0.9 - 0.1 * i)
        for i, stage in enumerate(stages)
        for name in ("bottle", "cable")
    ]
    ax = plot_stages(pd.DataFrame(rows, columns=["stage", "category", "image_auroc"]))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["bottle", "cable"]
    points = [line for line in ax.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in points] == [
        stage.replace("_", " ") for stage in stages
    ]
    np.testing.assert_allclose(
        points[-1].get_xdata(), [0.9 - 0.1 * (len(stages) - 1)] * 2
    )
    assert {to_hex(line.get_color()).upper() for line in points} == {
        task_color(0).upper()
    }
    assert (
        points[0].get_markerfacecolor() == "white" and ax.get_xlabel() == "image AUROC"
    )


def test_what_is_not_in_the_table_is_named(drops):
    with pytest.raises(ValueError, match="entropy='masked'; there are: all"):
        plot_expansion(drops, entropy="masked")
    with pytest.raises(ValueError, match="added=9; there are: 3, 6"):
        plot_expansion(drops, added=9)
    with pytest.raises(ValueError, match="part='aupro'; there are: logp"):
        plot_expansion_size(drops, part="aupro")
    many = pd.DataFrame({"stage": list("abcd"), "category": "x", "image_auroc": 0.5})
    with pytest.raises(ValueError, match="Expected 3 stages at most; got a, b, c, d"):
        plot_stages(many)
