"""Witnesses drawn: every line is a flow, every band its interval."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from analysis.witnesses import plot_accessibility, plot_representations

KEYS = {"run": "r", "strategy": "finetune", "step": 1, "level": "mean"}


def terms(**columns) -> pd.DataFrame:
    rows = [(0, "old", 0.6), (1, "old", 0.9), (0, "new", 0.6), (1, "new", 0.7)]
    table = pd.DataFrame(rows, columns=["block", "term", "value"])
    low, high = table["value"] - 0.1, table["value"] + 0.1
    return table.assign(low=low, high=high, head="one_class", **KEYS, **columns)


def test_accessibility_is_two_lines_over_a_floor():
    ax = plot_accessibility(terms())
    old, new, floor = ax.lines
    assert old.get_ydata().tolist() == [0.6, 0.9]
    assert new.get_ydata().tolist() == [0.6, 0.7]
    assert set(floor.get_ydata()) == {0.6} and len(ax.collections) == 2
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["just learned", "last model", "features alone"]


def test_several_tasks_are_not_drawn_as_one():
    both = pd.concat([terms(task=0), terms(task=1)])
    with pytest.raises(ValueError, match=r"or a mean over all \(by='all'\); got 2"):
        plot_accessibility(both)
    plt.close()
    assert plot_accessibility(terms(task=3), legend=False).get_legend() is None


def test_representations_are_two_lines_of_one_measure():
    table = terms().rename(columns={"term": "flow", "head": "measure"})
    table["flow"] = table["flow"].replace({"old": "untrained"})
    cka = table.assign(measure="cka")
    both = pd.concat([cka, table.assign(measure="discrepancy", value=0.0)])
    ax = plot_representations(both, measure="cka")
    new, untrained = ax.lines
    assert new.get_ydata().tolist() == [0.6, 0.7]
    assert untrained.get_ydata().tolist() == [0.6, 0.9]
    assert ax.get_ylabel() == "linear CKA"
