"""The slide style as matplotlib reads it, and figures saved the same way twice."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from matplotlib import colors
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from PIL import Image

import analysis
from analysis import style
from analysis.detection import plot_matrix
from analysis.style import (
    DIVERGING,
    MARKERS,
    SEQUENTIAL,
    TASK_COLORS,
    byte_axis,
    contrast,
    error_bars,
    names_beside,
    save_figure,
    spread,
    task_color,
    text_color,
)

FACTS = {"notebook": "01-task-curves", "runs": ["finetune-ab12cd"], "data": "0f3e"}


def figure(title="R[t, j] − R[j, j]"):
    drawn = Figure(figsize=(3, 2))
    axes = drawn.subplots()
    axes.plot([0, 1, 2], [1.0, 0.8, 0.7], color=task_color(0), marker=MARKERS[0])
    axes.fill_between([0, 1, 2], [0.9, 0.7, 0.6], [1.0, 0.9, 0.8], alpha=0.2)
    axes.set_title(title)
    return drawn


def contents(folder):
    return {
        path.name: path.read_bytes()
        for path in Path(folder).iterdir()
        if path.suffix != ".lock"
    }


@pytest.mark.parametrize(
    ("n_bytes", "labels"),
    [
        ([0, 500, 2.5e6], ["none", "100 B", "1 kB", "10 kB", "100 kB", "1 MB"]),
        ([0, 0], ["none", "10 B"]),
    ],
)
def test_an_axis_of_bytes_has_units_and_a_place_for_none(n_bytes, labels):
    ax = Figure().subplots()
    edge = byte_axis(ax, n_bytes)
    assert [label.get_text() for label in ax.get_xticklabels()] == labels
    left, right = ax.get_xlim()
    assert left < edge == ax.get_xticks()[0] and max(n_bytes) < right


def test_an_estimate_that_no_resample_reaches_has_no_negative_bar():
    rows = pd.DataFrame({"value": [0.5], "low": [0.6], "high": [0.7]})
    below, above = error_bars(rows)
    assert (below[0], above[0]) == (0, pytest.approx(0.2))


@pytest.mark.parametrize("wanted", [[0.0] * 5, [1.0] * 5, [0.2, 0.9, 0.5, 0.52, 0.51]])
def test_names_are_spread_apart_within_the_axes_and_keep_their_order(wanted):
    places = spread(np.array(wanted), 0.1)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(places[order]) > 0.1 - 1e-12).all()
    assert 0 <= places.min() and places.max() <= 1


def test_names_that_have_room_stand_where_their_points_do():
    np.testing.assert_array_equal(spread(np.array([0.5, 0.1]), 0.1), [0.5, 0.1])


def test_names_of_several_lines_lie_over_no_other():
    figure, ax = plt.subplots()
    points = [("just\nlearned", 1.0, 0.5, "k"), ("before\nthe steps", 1.0, 0.49, "k")]
    names_beside(ax, points)
    figure.canvas.draw()
    upper, lower = (text.get_window_extent() for text in ax.texts)
    assert upper.y0 >= lower.y1
    plt.close(figure)


def test_the_packaged_style_is_found_by_its_name():
    with matplotlib.style.context("analysis.slides"):
        rc = matplotlib.rcParams
        width, height = rc["figure.figsize"]
        assert width / height == pytest.approx(16 / 9)
        assert (
            round(width * rc["savefig.dpi"]),
            round(height * rc["savefig.dpi"]),
        ) == (1920, 1080)
        assert rc["pdf.fonttype"] == 42
        assert rc["svg.fonttype"] == "none"
        assert rc["svg.hashsalt"]
        assert not rc["axes.spines.top"]
        assert not rc["axes.spines.right"]
        assert rc["figure.constrained_layout.use"]
        assert rc["font.size"] >= 18
        assert rc["image.cmap"] == SEQUENTIAL
        assert colors.same_color(rc["axes.prop_cycle"].by_key()["color"], TASK_COLORS)


def test_fonts_that_are_not_there_are_not_asked_for(caplog):
    with matplotlib.style.context("analysis.slides"):
        families = matplotlib.rcParams["font.family"]
        figure("병 瓶 bottle")
    assert families[0] == "DejaVu Sans" and families == style.font_families()
    assert set(families) <= set(get_font_names())
    assert not caplog.records


def test_categories_in_korean_or_chinese_are_no_boxes():
    """Glyphs that no font has are a warning, which here is an error."""
    if not style.font_families()[1:]:
        pytest.skip("no font with the letters of Chinese or Korean is installed")
    with matplotlib.style.context("analysis.slides"):
        drawn = [_draws(name) for name in ("병", "瓶")]
    assert any(drawn)


def _draws(name):
    try:
        figure(name).draw_without_rendering()
    except UserWarning:
        return False
    return True


def test_a_font_that_is_there_is_fallen_back_to(monkeypatch):
    names = ["DejaVu Sans", "Malgun Gothic", "NanumGothic", "Comic Sans"]
    monkeypatch.setattr(style, "get_font_names", lambda: names)
    monkeypatch.setattr(style, "SLIDES", {"font.family": ["DejaVu Sans"]})
    expected = ["DejaVu Sans", "NanumGothic", "Malgun Gothic"]
    assert style.font_families() == expected


def test_every_line_of_the_style_is_known_to_matplotlib():
    lines = (
        (Path(analysis.__file__).parent / "slides.mplstyle").read_text().splitlines()
    )
    keys = [line.split(":")[0] for line in lines if line and not line.startswith("#")]
    assert sorted(keys) == sorted(style.SLIDES)


def test_colours_are_eight_and_cycle():
    assert len({colors.to_rgb(c) for c in TASK_COLORS}) == 8
    assert [task_color(t) for t in range(8)] == list(TASK_COLORS)
    assert task_color(np.int64(3)) == TASK_COLORS[3]


def test_fifteen_tasks_have_colours_that_are_told_apart_and_can_be_read():
    fifteen = [colors.to_rgb(task_color(t)) for t in range(15) if t != 14]
    gaps = [
        np.abs(np.subtract(one, other)).max()
        for i, one in enumerate(fifteen)
        for other in fifteen[:i]
    ]
    assert min(gaps) > 0.1
    assert min(contrast(text_color(t), "white") for t in range(15)) >= 3
    assert min(contrast(task_color(t), "white") for t in range(15)) >= 2


def test_contrast_is_that_of_the_guidelines():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)
    assert contrast("red", "red") == 1


@pytest.mark.parametrize("n", [2, 5, 15])
def test_digits_of_a_heatmap_can_be_read_or_are_left_out(n):
    R = np.tril(np.linspace(0.5, 1, n * n).reshape(n, n)) + np.triu(np.ones((n, n)), 1)
    with plt.style.context("analysis.slides"):
        figure, axes = plt.subplots(1, 2, figsize=(12.8, 5.4))
        ax = plot_matrix(R, ax=axes[0])
        figure.draw_without_rendering()
    assert (len(ax.texts) == 0) == (n == 15)
    mesh = ax.collections[0].get_facecolors().reshape(n, n, 4)
    boxes = []
    for text in ax.texts:
        x, y = text.get_position()
        assert contrast(text.get_color(), mesh[int(y), int(x)]) >= 3
        assert text.get_size() >= 12
        boxes.append(text.get_window_extent())
    apart = [one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i]]
    assert not any(apart)
    assert len(set(MARKERS)) == len(MARKERS)


def test_a_loss_is_red_and_zero_is_neutral():
    loss, zero, gain = (
        matplotlib.colormaps[DIVERGING](x)[:3] for x in (0.05, 0.5, 0.95)
    )
    assert loss[0] > loss[2] + 0.3
    assert gain[2] > gain[0] + 0.3
    assert np.ptp(zero) < 0.02


def test_three_files_and_a_manifest_with_the_same_bytes_each_time(tmp_path):
    folders = tmp_path / "new" / "folder", tmp_path / "again"
    paths, _ = [
        save_figure(figure(), "curves", folder, facts=FACTS) for folder in folders
    ]
    assert paths == [folders[0] / f"curves.{kind}" for kind in ("pdf", "svg", "png")]
    first, second = map(contents, folders)
    assert first == second
    assert {name: content[:4] for name, content in first.items()} == {
        "curves.pdf": b"%PDF",
        "curves.svg": b"<?xm",
        "curves.png": b"\x89PNG",
        "MANIFEST.json": b"{\n  ",
    }
    assert json.loads(first["MANIFEST.json"]) == {"curves": FACTS}
    assert b"CreationDate" not in first["curves.pdf"]
    assert b"dc:date" not in first["curves.svg"]


def test_what_looks_as_it_did_is_drawn_once(tmp_path):
    """And the layout, which the next drawing of the notebook wants, stays."""
    with matplotlib.rc_context({"figure.constrained_layout.use": True}):
        drawn = figure()
    engine = drawn.get_layout_engine()
    paths = save_figure(drawn, "curves", tmp_path, facts=FACTS)
    assert drawn.get_layout_engine() is engine is not None
    before = [path.read_bytes() for path in paths]
    paths[0].write_text("as it was"), paths[1].unlink()
    save_figure(drawn, "curves", tmp_path, facts=FACTS)
    assert [path.read_bytes() for path in paths] == before, "one was missing"
    paths[0].write_text("as it was")
    save_figure(drawn, "curves", tmp_path, facts=FACTS)
    assert paths[0].read_text() == "as it was"
    for other in (figure("another"), figure("− another")):
        save_figure(other, "curves", tmp_path, facts=FACTS)
        assert paths[0].read_text(errors="ignore").startswith("%PDF")
        paths[0].write_text("as it was"), paths[2].write_text("no image")


def test_another_process_gives_the_same_bytes(tmp_path):
    code = (
        "f = Figure(figsize=(3, 2)); a = f.subplots(); "
        "a.plot([0, 1], [1, 0.8], marker='s'); a.set_title('−é');"
        "save_figure(f, 'line', folder, facts={'b': 1, 'a': 2})"
    )
    exec(
        code,
        {"Figure": Figure, "save_figure": save_figure, "folder": tmp_path / "here"},
    )
    there = (
        "import sys; from matplotlib.figure import Figure; "
        "from analysis.style import save_figure;"
        f"folder = sys.argv[1]; {code}"
    )
    root = Path(analysis.__file__).parent.parent
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(root)}
    subprocess.run(
        [sys.executable, "-c", there, str(tmp_path / "there")],
        env=environment,
        check=True,
    )
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_files_are_opaque_editable_and_independent_of_the_active_style(tmp_path):
    with matplotlib.rc_context(
        {
            "savefig.transparent": True,
            "svg.fonttype": "path",
            "savefig.facecolor": "black",
        }
    ):
        _, svg, png = save_figure(figure(), "curves", tmp_path, facts=FACTS)
        assert matplotlib.rcParams["svg.fonttype"] == "path"
    assert "R[t, j] − R[j, j]</text>" in svg.read_text(encoding="utf-8")
    pixels = np.asarray(Image.open(png).convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    assert (pixels[0, 0] == 255).all()


def test_the_manifest_keeps_other_figures_and_replaces_the_same(tmp_path):
    for name, runs in (("b", ["one"]), ("a", ["two"]), ("b", ["three"])):
        style._record(tmp_path / "MANIFEST.json", name, {"runs": runs})
    manifest = json.loads((tmp_path / "MANIFEST.json").read_text())
    assert manifest == {"a": {"runs": ["two"]}, "b": {"runs": ["three"]}}
    assert list(manifest) == ["a", "b"]


def test_writers_wait_for_each_other(tmp_path):
    def write(name):
        for i in range(20):
            style._record(tmp_path / "MANIFEST.json", f"{name}{i}", {})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "MANIFEST.json").read_text())) == 60


def test_a_lock_held_elsewhere_ends_in_a_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "PATIENCE_SECONDS", 0.05)
    with (
        FileLock(tmp_path / ".MANIFEST.json.lock"),
        pytest.raises(TimeoutError, match=r"MANIFEST\.json\.lock"),
    ):
        style._record(tmp_path / "MANIFEST.json", "curves", FACTS)


def test_a_failed_save_leaves_the_old_figure_and_no_debris(tmp_path):
    save_figure(figure(), "curves", tmp_path, facts=FACTS)
    before = contents(tmp_path)
    for fact in (object(), float("nan")):
        with pytest.raises(ValueError, match="Expected facts"):
            save_figure(figure("new"), "curves", tmp_path, facts={"run": fact})
    with pytest.raises(ValueError, match="mathtext|Parse|Expected"):
        save_figure(figure("$broken{$"), "curves", tmp_path, facts=FACTS)
    assert contents(tmp_path) == before


def test_a_foreign_manifest_is_not_overwritten(tmp_path):
    for foreign in ("[1, 2]", "not json"):
        (tmp_path / "MANIFEST.json").write_text(foreign)
        with pytest.raises(
            ValueError, match="Expected .*MANIFEST.json to map figures to facts"
        ):
            style._record(tmp_path / "MANIFEST.json", "curves", FACTS)
        assert (tmp_path / "MANIFEST.json").read_text() == foreign


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden"])
def test_only_a_plain_file_name_is_a_name(name, tmp_path):
    with pytest.raises(ValueError, match="Expected a plain file name"):
        save_figure(figure(), name, tmp_path, facts=FACTS)
    assert not list(tmp_path.iterdir())
