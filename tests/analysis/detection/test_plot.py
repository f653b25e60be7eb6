"""Plots of planted tables: what is drawn, where, in which colour."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.detection.plot import (
    AVERAGE,
    plot_forgetting,
    plot_losses,
    plot_matrix,
    plot_strategies,
    plot_task_curves,
)
from analysis.pictures.plot import plot_examples
from analysis.style import task_color, text_color


@pytest.fixture
def evaluated() -> pd.DataFrame:
    """Three tasks of two categories; each loses .1 a step after it is learned."""
    rows = []
    for t, j, i in product(range(3), range(3), range(2)):
        for metric in ("image_auroc", "pixel_auroc"):
            if j <= t:
                value = 0.9 - 0.1 * (t - j) + 0.02 * i
                rows.append((t, j, f"c{j}{i}", metric, value))
    columns = ["step", "task", "category", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(
        run="run", strategy="finetune", seed=0, part="product", given="category"
    )


def test_matrix_shows_every_measurement_and_leaves_the_rest_white():
    R = np.array([[0.9, np.nan], [0.4, 0.8]])
    ax = plot_matrix(R)
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.40", "0.80"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "tested on task",
        "after learning task",
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    assert ax.collections[0].get_clim() == (0.5, 1.0)


def test_task_curves_begin_where_tasks_are_learnt(evaluated):
    ax = plot_task_curves(evaluated, reference=evaluated[evaluated["step"] == 2])
    curves = [
        line
        for line in ax.lines
        if len(line.get_xdata()) and line.get_label().startswith("_child")
    ]
    by_color = {
        to_hex(line.get_color()).upper(): line
        for line in curves
        if len(line.get_xdata()) > 1
    }
    first = by_color[task_color(0).upper()]
    assert list(curves[0].get_xdata()) == [0, 1, 2]
    np.testing.assert_allclose(curves[0].get_ydata(), [0.91, 0.81, 0.71])
    assert first is not None
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1", "2", "3"]
    assert "joint" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("plot", [plot_task_curves, plot_strategies])
def test_no_legend_means_none_at_all(evaluated, plot):
    assert plot(evaluated, legend=False).get_legend() is None


def test_forgetting_draws_an_interval_per_task():
    frame = pd.DataFrame(
        [
            ("0", "a, b", 0.9, 0.7, -0.2, -0.3, -0.1),
            ("1", "c", 0.8, 0.8, 0.0, 0.0, 0.0),
            ("average", "x", 0.9, 0.7, -0.2, -0.3, -0.1),
        ],
        columns=["task", "categories", "learned", "final", "change", "low", "high"],
    )
    ax = plot_forgetting(frame)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "1: a, b",
        "2: c",
        "average",
    ]
    assert len(ax.containers) == 3
    assert (
        to_hex(ax.containers[0].lines[0].get_color()).upper() == task_color(0).upper()
    )
    assert ax.get_yticklabels()[0].get_color() == text_color(0)
    average = ax.containers[2].lines[0].get_color()
    assert average == ax.get_yticklabels()[2].get_color() == AVERAGE
    (segment,) = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 0], [-0.3, -0.1])


def test_strategies_show_the_last_model_and_its_mean(evaluated):
    both = pd.concat(
        [evaluated, evaluated.assign(strategy="joint", run="other", step=2)],
        ignore_index=True,
    )
    ax = plot_strategies(both[(both["step"] == 2) | (both["strategy"] == "finetune")])
    last = (evaluated["step"] == 2) & (evaluated["metric"] == "image_auroc")
    mean = evaluated.loc[last, "value"].mean()
    first, second = (label.get_text() for label in ax.get_xticklabels())
    assert first == f"fine-tuning\nmean {mean:.2f}"
    assert second.startswith("joint training\nmean 0.")
    assert not ax.texts  # nothing is written over the points
    bar = next(line for line in ax.lines if len(line.get_ydata()))
    np.testing.assert_allclose(bar.get_ydata(), [mean, mean])


def test_strategies_lie_where_they_lay(evaluated):
    drawn = []
    for ax in plt.subplots(1, 2)[1]:
        plot_strategies(evaluated, ax=ax)
        ax.figure.canvas.draw()
        drawn.append(
            np.concatenate([points.get_offsets() for points in ax.collections])
        )
    np.testing.assert_allclose(*drawn, atol=1e-12)
    assert len(np.unique(drawn[0], axis=0)) == len(drawn[0])


def test_losses_run_on_over_the_tasks():
    losses = pd.DataFrame(
        [
            (step, epoch, 0, term, 1.0)
            for step in range(2)
            for epoch in range(3)
            for term in ("g", "mi")
        ],
        columns=["step", "epoch", "level", "term", "value"],
    )
    ax = plot_losses(losses)
    sixths = (np.arange(6) + 0.5) / 3
    lines = [line for line in ax.lines if line.get_zorder()]
    for term, style in zip((lines[:2], lines[2:]), ("-", "--")):
        np.testing.assert_allclose(
            np.concatenate([t.get_xdata() for t in term]), sixths
        )
        assert [line.get_color() for line in term] == [task_color(0), task_color(1)]
        assert {line.get_linestyle() for line in term} == {style}
    names = [text.get_text() for text in ax.texts]
    assert names == ["likelihood, all classes", "class"]
    (boundary,) = (line for line in ax.lines if not line.get_zorder())
    assert set(boundary.get_xdata()) == {1}
    ticks = ax.get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["1", "2"]
    assert [tick.get_color() for tick in ticks] == [text_color(0), text_color(1)]


def test_examples_outline_defects_in_the_colour_of_the_task():
    rng, mask = np.random.default_rng(0), np.zeros((8, 8), dtype=bool)
    mask[2:5, 2:5] = True
    rows = [
        (
            task,
            name,
            defect,
            rng.random((8, 8, 3)),
            mask if defect != "good" else np.zeros_like(mask),
        )
        for task, name in ((0, "ant"), (1, "bee"))
        for defect in ("good", "bent_part")
    ]
    figure = plot_examples(
        pd.DataFrame(rows, columns=["task", "category", "defect", "image", "mask"]),
        per_category=3,
    )
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in shown] == ["good", "bent\npart"] * 2
    assert [len(ax.collections) for ax in shown] == [0, 1] * 2
    assert (
        to_hex(shown[2].spines["left"].get_edgecolor()).upper() == task_color(1).upper()
    )
    plt.close(figure)


def test_what_is_not_in_the_table_is_named(evaluated):
    with pytest.raises(ValueError, match="metric='aupro'; there are"):
        plot_task_curves(evaluated, metric="aupro")
