"""Growth, alignment, budgets and samplers as artists: every row is drawn, at its value,
under its name.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Ellipse

from analysis.alignment.plot import (
    plot_alignment,
    plot_budget,
    plot_growth,
    plot_samplers,
)


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        ("finetune", "joint", "", 0.9, 0),
        ("gauge_free", "none", "", 0.8, 900),
        ("finetune", "refit", "full", 0.75, 1e6),
        ("finetune", "pushforward", "full", 0.7, 800),
        ("finetune", "pushforward", "means", 0.65, 800),
        ("finetune", "refit", "means", 0.6, 1e6),
        ("finetune", "sdc", "means", 0.5, 0),
        ("finetune", "none", "", 0.4, 0),
    ]
    frame = pd.DataFrame(
        rows, columns=["strategy", "aligner", "head", "image_auroc", "n_bytes"]
    )
    return frame.assign(
        low=frame["image_auroc"] - 0.02, high=frame["image_auroc"] + 0.03
    )


def test_growth_draws_an_ellipse_per_component_and_only_what_was_seen_dark():
    columns = [
        "order",
        "policy",
        "n_points",
        "component",
        "weight",
        "x",
        "y",
        "major",
        "minor",
        "angle",
    ]
    rows = [
        ("s", "igmn", 5, 0, 1.0, 1, 2, 3, 1, 30),
        ("s", "igmn", 9, 0, 0.5, 0, 0, 1, 1, 0),
        ("s", "igmn", 9, 1, 0.5, 4, 4, 1, 1, 0),
    ]
    growth, points = (
        pd.DataFrame(rows, columns=columns),
        np.random.default_rng(0).normal(size=(9, 2)),
    )
    ax = plot_growth(
        growth, points, ax=plt.subplots()[1], order="s", policy="igmn", n_points=5
    )
    (ellipse,) = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    assert (ellipse.center, ellipse.width, ellipse.height, ellipse.angle) == (
        (1, 2),
        12,
        4,
        30,
    )
    seen, to_come = ax.collections
    assert (len(seen.get_offsets()), len(to_come.get_offsets())) == (5, 4)
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == [
        "seen",
        "yet to come",
    ]
    last = plot_growth(growth, points, ax=plt.subplots()[1], order="s", policy="igmn")
    assert len(last.patches) == 2
    with pytest.raises(ValueError, match="order='s', policy='em'"):
        plot_growth(growth, points, ax=ax, order="s", policy="em")


def test_alignment_has_a_row_per_approach_and_lines_at_the_references(table):
    ax = plot_alignment(table, ax=plt.subplots()[1])
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "gauge free",
        "pushforward",
        "SDC",
    ]
    lines = {line.get_label(): line.get_xdata()[0] for line in ax.lines}
    assert {name: x for name, x in lines.items() if not name.startswith("_")} == {
        "joint training": 0.9,
        "refit, covariances": 0.75,
        "refit, means": 0.6,
        "fine-tuned, as it is": 0.4,
    }
    named = {text.get_text() for text in ax.get_legend().get_texts()}
    assert named > {"joint training", "refit, means", "as trained"}
    drawn = [list(container.lines[0].get_xdata()) for container in ax.containers]
    assert drawn == [[0.65, 0.5], [0.7], [0.8]]


def test_what_was_trained_otherwise_is_drawn_however_few_aligners_are(table):
    worse = table.assign(
        image_auroc=table["image_auroc"].where(table["strategy"] == "finetune", 0.3)
    ).sort_values("image_auroc", ascending=False)
    ax = plot_alignment(worse, ax=plt.subplots()[1], most=4)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["pushforward", "SDC", "gauge free"]
    ax = plot_alignment(worse, ax=plt.subplots()[1], most=1)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["pushforward", "gauge free"]


def test_budget_names_the_best_of_each_size(table):
    ax = plot_budget(table, ax=plt.subplots()[1])
    assert {text.get_text() for text in ax.texts} == {
        "gauge free",
        "refit",
        "pushforward",
        "SDC",
    }
    points = [one.lines[0].get_data() for one in ax.containers]
    x = np.concatenate([x for x, _ in points])
    assert len(set(x)) == len(table) - 1, "none behind another"
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["none", "100 B", "1 kB", "10 kB", "100 kB", "1 MB"]


def test_samplers_have_a_point_per_category_and_level():
    told = pd.DataFrame(
        {
            "sampler": ["real"] * 4 + ["nominal"] * 4,
            "category": list("abab") * 2,
            "level": [0, 0, 1, 1] * 2,
            "value": [0.5, 0.52, 0.48, 0.5, 0.9, 0.95, 0.97, 0.98],
        }
    )
    ax = plot_samplers(told, ax=plt.subplots()[1])
    *levels, mean = ax.collections
    assert [len(dots.get_offsets()) for dots in levels] == [4, 4]
    centers = [segment[0, 0] for segment in mean.get_segments()]
    np.testing.assert_allclose(centers, [0.5, 0.95])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "a category at level 1",
        "a category at level 2",
        "mean",
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "other real patches",
        "own mixture, inverted",
    ]
