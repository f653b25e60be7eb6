"""Plots of planted transplants and transports: what is drawn, where, and what is
missing is named.
"""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis.ledger.plot_moves import plot_transplant, plot_transport, plot_volume


def test_transplants_are_lines_over_blocks():
    hybrids = pd.DataFrame(
        product((0, 1), "ab", ("first", "last"), range(4), ("old", "full")),
        columns=["task", "category", "side", "blocks", "centers"],
    )
    hybrids = hybrids.assign(
        metric="image_auroc",
        part="product",
        value=0.5 + hybrids["blocks"] / 10 + hybrids["task"] / 100,
    )
    ax = plot_transplant(hybrids, task=1)
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
        lines["last blocks, old centers"].get_ydata(), [0.51, 0.61, 0.71, 0.81]
    )
    assert lines["first blocks, old centers"].get_linestyle() == "--"
    with pytest.raises(ValueError, match="task=4; there are: 0, 1"):
        plot_transplant(hybrids, task=4)


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
    assert [label.get_text() for label in ax.get_xticklabels()] == ["task 1", "task 2"]
    other = plot_volume(moves, ax=ax.figure.add_subplot())
    widths = {
        container.get_label(): [bar.get_width() for bar in container]
        for container in other.containers
    }
    assert widths == {"mixture": [-2, -2], "volume": [0.5, 0.5]}


def test_what_is_not_in_the_table_is_named(moves):
    with pytest.raises(ValueError, match="source='mixture'; there are: images"):
        plot_transport(moves, source="mixture")
