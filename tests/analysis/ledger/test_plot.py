"""Plots of planted ledgers: bars add up, colours are not those of tasks, and what is
missing is named.
"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.ledger.plot import TERM_COLORS, plot_families, plot_ledger, plot_waterfall
from analysis.ledger.say import reading_of_refits
from analysis.style import TASK_COLORS, contrast

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
    assert [bar.get_height() for bar in ends] == [0.9, 0.5]
    level = 0.9
    for bar, (name, color) in zip(bars, TERM_COLORS.items()):
        assert bar.get_y() == pytest.approx(level)
        assert bar.get_height() == pytest.approx(-SPLIT[name])
        assert to_hex(bar.get_facecolor()) == to_hex(color)
        level -= SPLIT[name]
    assert level == pytest.approx(0.5)
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["learned", *TERM_COLORS, "now"]
    errors = [c for c in ax.containers if hasattr(c, "lines")]
    span = errors[0].lines[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose(span, [0.9 - 0.23, 0.9 - 0.18])


def test_the_waterfall_says_its_numbers_and_the_sign_of_a_gain(terms):
    texts = [text.get_text() for text in plot_waterfall(terms, task=1).texts]
    assert texts == ["0.90", "0.50", "−0.20", "−0.15", "+0.05", "−0.10"]


def test_what_later_classes_gain_lifts_no_bar_above_one(terms):
    """The levels are those of models, from the refitted one down to the one at hand."""
    values = {"learned": 1.0, "final": 0.6, "drop": 0.4, "residual": 0.25}
    values |= {"alignment": 0.2, "center drift": 0.0, "confusion": -0.05}
    rows = terms.assign(value=terms["term"].map(values))
    ax = plot_waterfall(rows.assign(low=rows["value"], high=rows["value"]), task=0)
    tops = [bar.get_y() + max(bar.get_height(), 0) for bar in ax.patches]
    assert max(tops) == pytest.approx(1.0)


def test_the_terms_of_each_category_add_up_to_its_drop(terms):
    ax = plot_ledger(terms)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ant", "bee"]
    widths = sum(bar.get_width() for bar in ax.patches)
    assert widths == pytest.approx(2 * SPLIT["drop"])
    (drop,) = (one for one in ax.containers if one.get_label() == "drop")
    np.testing.assert_allclose(drop.lines[0].get_xdata().astype(float), [0.4, 0.4])
    spans = np.array([bar[:, 0] for bar in drop.lines[2][0].get_segments()])
    np.testing.assert_allclose(spans.astype(float), [[0.38, 0.43]] * 2)
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


def test_terms_are_not_in_the_colours_of_tasks_and_stand_out():
    colors = {to_hex(color).upper() for color in TERM_COLORS.values()}
    assert not colors & set(TASK_COLORS)
    assert min(contrast(color, "white") for color in colors) >= 3


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


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.1, 0.05, 0.15), "by 0.100 [0.050, 0.150]: it kept something"),
        ((0.0, -0.1, 0.1), "refits as well (new one ahead by 0.000 [-0.100, 0.100])"),
        ((-0.2, -0.3, -0.1), "refits better, by 0.200 [0.100, 0.300]:"),
    ],
)
def test_the_headline_weighs_a_refit_against_an_untrained_flow(interval, words):
    row = {"term": "beyond", "part": "product", "given": "category"}
    terms = pd.DataFrame([row | dict(zip(("value", "low", "high"), interval))])
    text = reading_of_refits(terms)
    assert words in text and ("no sign" in text) == (interval[1] <= 0)
