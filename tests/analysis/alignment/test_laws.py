"""Laws measured: a class that is told by its place needs a law that knows places."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis.alignment.laws import measure_laws
from analysis.alignment.plot_likelihood import POSITION_LABELS, plot_laws


@pytest.fixture(scope="module")
def laws(run):
    return measure_laws(run, components=(1, 2), position=("pooled", "full"))


def test_every_law_has_a_likelihood_and_its_bytes(run, laws):
    keys = ["components", "position", "places", "category", "level"]
    assert len(laws) == 2 * 2 * 1 * 3 * 2 == len(laws[keys].drop_duplicates())
    assert np.isfinite(laws["value"]).all()
    by = laws.groupby(["position", "components"])["n_bytes"].sum()
    assert by["full", 2] > by["full", 1] > by["pooled", 1]


def test_what_is_held_out_decides_and_not_what_was_seen(run, laws):
    """More components than images bear fit worse on the others."""
    many = measure_laws(run, components=(64,), position="pooled")
    few = laws.query("position == 'pooled' and components == 1")
    assert many["value"].mean() < few["value"].mean()


def test_categories_may_be_chosen_and_unknown_ones_are_named(run):
    name = run.tasks[1][0]
    rows = measure_laws(run, components=(1,), position="pooled", category=name)
    assert set(rows["category"]) == {name}
    with pytest.raises(KeyError, match="Unknown category 'gnu'"):
        measure_laws(run, category="gnu")
    with pytest.raises(KeyError, match="Unknown position"):
        measure_laws(run, position="everywhere")


def test_a_line_per_position_is_drawn_at_its_bytes_and_likelihood(laws):
    ax = plot_laws(laws)
    assert len(ax.lines) == 2
    for line, position in zip(ax.lines, ("pooled", "full")):
        assert line.get_label() == POSITION_LABELS[position]
        rows = laws[laws["position"] == position]
        means = rows.groupby("components")["value"].mean()
        np.testing.assert_allclose(line.get_ydata(), means)
        size = rows.groupby("components")["n_bytes"].sum() / 3
        np.testing.assert_allclose(line.get_xdata(), size)
    assert [text.get_text() for text in ax.texts] == ["1", "2"] * 2
    assert "bytes" in ax.get_xlabel() and " " in ax.get_xticklabels()[0].get_text()
    plt.close("all")
