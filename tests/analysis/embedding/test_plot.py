"""Pictures of planted patches: who is hollow, large, or faint, and in which colour."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis.embedding.plot import (
    plot_apparent_drift,
    plot_embedding,
    plot_embedding_steps,
)
from analysis.style import task_color

LABELS = ("normal", "anomalous", "center")


@pytest.fixture
def embedded():
    """Two tasks of two categories over three steps; the second is learned at step 1."""
    rows = []
    for step, task, i in product(range(3), range(2), range(2)):
        known = step >= task
        for y, label in enumerate(LABELS):
            if known or label != "center":
                x = step + 4.0 * task + i
                name = f"{'ab'[task]}{i}"
                rows.append((step, task, name, label, known, x, float(y)))
    columns = ["step", "task", "category", "label", "known", "x", "y"]
    return pd.DataFrame(rows, columns=columns).assign(
        run="r", method="aligned", space="latents"
    )


@pytest.fixture
def drift():
    values = [
        ("aligned", "features", 0.1),
        ("aligned", "latents", 0.2),
        ("independent", "features", 0.9),
    ]
    rows = [(m, s, step, value) for m, s, value in values for step in (1, 2)]
    return pd.DataFrame(rows, columns=["method", "space", "step", "drift"])


def drawn(ax, x):
    """Label of the points drawn at x -> the artist."""
    return {
        LABELS[int(c.get_offsets()[0][1])]: c
        for c in ax.collections
        if c.get_offsets()[0][0] == x
    }


def test_colour_is_the_task_and_only_normal_patches_are_filled(embedded):
    artists = drawn(plot_embedding(embedded, step=2), x=2.0)
    assert {
        to_hex(a.get_edgecolor()[0]).upper()
        for k, a in artists.items()
        if k != "center"
    } == {task_color(0)}
    assert to_hex(artists["normal"].get_facecolor()[0]).upper() == task_color(0)
    assert to_hex(artists["anomalous"].get_facecolor()[0]) == "#ffffff"
    assert to_hex(artists["center"].get_facecolor()[0]).upper() == task_color(0)
    assert to_hex(artists["center"].get_edgecolor()[0]) == "#000000"


def test_what_is_not_learnt_yet_is_faint_and_the_focus_large(embedded):
    before, after = (
        drawn(plot_embedding(embedded, step=step), x=step + 4.0) for step in (0, 2)
    )
    assert before["normal"].get_alpha() < after["normal"].get_alpha()
    assert "center" not in before
    first = drawn(plot_embedding(embedded, step=2), x=2.0)
    assert first["normal"].get_sizes()[0] > after["normal"].get_sizes()[0]


def test_categories_of_a_task_differ_in_marker(embedded):
    ax = plot_embedding(embedded, step=2)
    a, b = (drawn(ax, x)["normal"].get_paths()[0].vertices for x in (2.0, 3.0))
    assert a.shape != b.shape or not np.allclose(a, b)


def test_a_center_has_the_marker_of_its_category(embedded):
    ax = plot_embedding(embedded, step=2)
    for x in (2.0, 3.0):
        artists = drawn(ax, x)
        patch, center = (artists[label].get_paths()[0] for label in LABELS[::2])
        np.testing.assert_array_equal(patch.vertices, center.vertices)
        assert artists["center"].get_sizes()[0] > artists["normal"].get_sizes()[0]


def test_steps_share_their_frame_and_one_legend(embedded):
    figure = plot_embedding_steps(embedded)
    assert [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes] == [
        f"after task {t}" for t in (1, 2, 3)
    ]
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    assert all(ax.get_legend() is None for ax in figure.axes)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    arrived = embedded[["task", "category"]].drop_duplicates().sort_values("task")
    names = [f"{row.task + 1}: {row.category}" for row in arrived.itertuples()]
    assert words == [*names, "normal", "anomalous", "center"]
    assert len(plot_embedding_steps(embedded, steps=[2]).axes) == 1


def test_steps_are_drawn_onto_a_part_of_a_figure_as_well(embedded):
    whole = plt.figure()
    left, right = whole.subfigures(1, 2)
    assert plot_embedding_steps(embedded, figure=left) is left
    assert len(left.axes) == 3 and len(left.legends) == 1 and not right.axes


def test_the_legend_names_no_centers_where_there_are_none(embedded):
    ax = plot_embedding(embedded[embedded["label"] != "center"])
    assert "center" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_drift_is_hollow_for_features_and_filled_for_latents(drift):
    ax = plot_apparent_drift(drift)
    hollow, filled = ax.collections
    assert to_hex(hollow.get_facecolor()[0]) == "#ffffff"
    assert to_hex(filled.get_facecolor()[0]) == "#000000"
    np.testing.assert_allclose(hollow.get_offsets()[:, 0], [0.1, 0.1, 0.9, 0.9])
    np.testing.assert_allclose(filled.get_offsets()[:, 0], [0.2, 0.2])
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "aligned",
        "independent",
    ]
    assert np.ptp(hollow.get_offsets()[:, 1]) == 1


def test_several_pictures_of_a_step_are_refused(embedded):
    with pytest.raises(ValueError, match="one run, method and space; got several"):
        plot_embedding(pd.concat([embedded, embedded.assign(method="joint")]))
