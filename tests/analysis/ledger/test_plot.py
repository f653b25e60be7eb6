"""Plots of planted ledgers: bars add up, colours are not those of tasks, and what is
missing is named.
"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.ledger.plot import TERM_COLORS, plot_families, plot_ledger, plot_waterfall
from analysis.style import TASK_COLORS, task_color

SPLIT = {"confusion": 0.1, "center drift": -0.05, "alignment": 0.15, "residual": 0.2}
SPLIT |= {"learned": 0.9, "final": 0.5, "drop": 0.4}


@pytest.fixture
def terms() -> pd.DataFrame:
    rows = [
        (task, category, term, value)
        for task, category in enumerate(("ant", "bee"))
        for term, value in SPLIT.items()
    ]
    frame = pd.DataFrame(rows, columns=["task", "category", "term", "value"])
    return frame.assign(
        strategy="finetune",
        step=4,
        given="category",
        part="product",
        low=frame["value"] - 0.02,
        high=frame["value"] + 0.03,
    )


def test_the_waterfall_falls_from_learnt_to_now(terms):
    ax = plot_waterfall(terms, task=1)
    ends, bars = ax.patches[:2], ax.patches[2:]
    assert [bar.get_height() for bar in ends] == [0.9, 0.5] and to_hex(
        ends[0].get_facecolor()
    ).upper() == task_color(1)
    level = 0.9
    for bar, (name, color) in zip(bars, TERM_COLORS.items()):
        assert bar.get_y() == pytest.approx(
            level
        ) and bar.get_height() == pytest.approx(-SPLIT[name])
        assert (bar.get_hatch() is not None) == (SPLIT[name] < 0) and to_hex(
            bar.get_facecolor()
        ) == to_hex(color)
        level -= SPLIT[name]
    assert level == pytest.approx(0.5)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "learned",
        *TERM_COLORS,
        "now",
    ]
    spans = [
        c.lines[2][0].get_segments()[0][:, 1]
        for c in ax.containers
        if hasattr(c, "lines")
    ]
    np.testing.assert_allclose(spans[0], [0.9 - 0.13, 0.9 - 0.08])


def test_the_terms_of_each_category_add_up_to_its_drop(terms):
    ax = plot_ledger(terms)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ant", "bee"]
    widths = sum(bar.get_width() for bar in ax.patches)
    assert widths == pytest.approx(2 * SPLIT["drop"])
    (diamonds,) = (line for line in ax.lines if line.get_label() == "drop")
    np.testing.assert_allclose(diamonds.get_xdata(), [0.4, 0.4])
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {
        *TERM_COLORS,
        "drop",
    }
    left, right = ax.get_xlim()
    assert left < -0.05 and right > 0.45, "no bar ends at the frame"
    assert (
        plot_ledger(
            terms.drop(columns="category"), legend=False, ax=ax.figure.add_subplot()
        ).get_legend()
        is None
    )


def test_terms_are_not_in_the_colours_of_tasks():
    assert not {to_hex(color).upper() for color in TERM_COLORS.values()} & set(
        TASK_COLORS
    )


def test_families_are_a_line_and_the_affine_one_beside_it():
    names = ("none", "means", "full", "affine")
    rows = [
        ("category", "product", name, flow, 0.5 + i / 10, 0.45 + i / 10, 0.55 + i / 10)
        for flow in ("old", "new", "untrained")
        for i, name in enumerate(names)
        if (flow, name) != ("untrained", "none")
    ]
    columns = ["given", "part", "family", "flow", "value", "low", "high"]
    ax = plot_families(pd.DataFrame(rows, columns=columns))
    lines = {
        line.get_label(): line
        for line in ax.lines
        if not line.get_label().startswith("_")
    }
    assert list(lines["new flow"].get_xdata()) == [0, 1, 2] and list(
        lines["untrained flow"].get_xdata()
    ) == [1, 2]
    assert [container.lines[0].get_xdata().tolist() for container in ax.containers] == [
        [3]
    ] * 3
    assert len(ax.get_legend().get_texts()) == 3


def test_what_is_not_in_the_table_is_named(terms):
    with pytest.raises(ValueError, match="part='logp'; there are: product"):
        plot_waterfall(terms, part="logp")
    with pytest.raises(ValueError, match="one strategy and one task; got several"):
        plot_waterfall(terms)
