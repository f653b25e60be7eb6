"""Plots of planted transplants and transports: what is drawn, where, and what is
missing is named.
"""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.ledger.conclude import transplant_levels
from analysis.ledger.plot_moves import plot_transplant, plot_transport, plot_volume


@pytest.fixture
def hybrids() -> pd.DataFrame:
    """In each hybrid, a number of the defects is ranked below a normal image."""
    columns = ["task", "category", "side", "blocks", "centers"]
    kinds = product((0, 1), "ab", ("first", "last"), range(4), ("old", "full"))
    rows = pd.DataFrame(kinds, columns=columns)
    scores = [
        [0.5, 0.1] + [1.0] * (2 * blocks + task) + [0.3] * (8 - 2 * blocks - task)
        for task, blocks in zip(rows["task"], rows["blocks"])
    ]
    labels = [[0, 0] + [1] * 8] * len(rows)
    rows = rows.assign(labels=labels, scores=scores, strategy="finetune", step=2)
    return rows.assign(metric="image_auroc", part="product", value=0.0)


def test_transplants_are_lines_over_blocks_with_intervals(hybrids):
    levels = transplant_levels(hybrids, task=1)
    assert (levels["low"] <= levels["value"]).all()
    assert (levels["value"] <= levels["high"]).all() and levels["low"].min() < 0.56
    ax = plot_transplant(levels)
    lines = {
        line.get_label(): line
        for line in ax.lines
        if not line.get_label().startswith("_")
    }
    assert set(lines) == {
        f"{s} blocks, {c}"
        for s in ("first", "last")
        for c in ("old centers", "refitted (full)")
    }
    np.testing.assert_allclose(
        lines["last blocks, old centers"].get_ydata(),
        [9 / 16, 11 / 16, 13 / 16, 15 / 16],
    )
    assert lines["first blocks, old centers"].get_linestyle() == "--"
    assert len(ax.collections) == 4, "a band around each"
    with pytest.raises(ValueError, match="task=4; there are: 0, 1"):
        transplant_levels(hybrids, task=4)
    with pytest.raises(ValueError, match="runs of one strategy; got ewc, finetune"):
        plot_transplant(pd.concat([levels, levels.assign(strategy="ewc")]))


@pytest.fixture
def moves() -> pd.DataFrame:
    fits = [
        (task, level, "images", "all", name, value + level / 10)
        for task in (0, 1)
        for level in (0, 1)
        for name, value in (("rigid", 0.2), ("affine", 0.5), ("class_affine", 0.8))
    ]
    parts = [
        (task, level, "images", name, quantity, value)
        for task, name in ((0, "ant"), (1, "bee"))
        for level in (0, 1)
        for quantity, value in (("mixture", -2.0), ("volume", 0.5), ("logp", -1.5))
    ]
    return pd.DataFrame(
        fits + parts,
        columns=["task", "level", "source", "category", "quantity", "value"],
    )


def test_transport_shows_nested_fits_and_both_parts_of_log_p(moves):
    ax = plot_transport(moves)
    heights = np.array(
        [[bar.get_height() for bar in container] for container in ax.containers]
    )
    np.testing.assert_allclose(heights, [[0.25, 0.25], [0.55, 0.55], [0.85, 0.85]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    circles = np.concatenate([dots.get_offsets() for dots in ax.collections])
    assert len(circles) == 12, "a circle for every bar and level"
    other = plot_volume(moves, ax=ax.figure.add_subplot())
    widths = {
        container.get_label(): [bar.get_width() for bar in container]
        for container in other.containers
    }
    assert widths == {"mixture": [-2, -2], "volume": [0.5, 0.5]}
    left, right = other.get_xlim()
    assert -4 < left < -2 and right < 2, "no empty half"


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-2.0, 0.5, ["−1", "0", "1"]),
        (-30.0, 0.0, ["−10", "−1", "0", "1"]),
        (-3e10, 200.0, ["−$10^{10}$", "−$10^{5}$", "−1", "0", "1", "10", "100"]),
    ],
)
def test_ticks_of_log_p_reach_as_far_as_the_bars(moves, low, high, labels):
    ends = {"mixture": low, "volume": high}
    values = moves["quantity"].map(ends).fillna(moves["value"])
    ax = plot_volume(moves.assign(value=values))
    assert [label.get_text() for label in ax.get_xticklabels()] == labels


def test_what_is_not_in_the_table_is_named(moves):
    with pytest.raises(ValueError, match="source='mixture'; there are: images"):
        plot_transport(moves, source="mixture")
