"""One call on a run, wherever it lies: the same numbers, a page, and files."""

import dataclasses
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import diagnose
from analysis.intervals import Resampling
from analysis.report import HEADINGS, Report
from cl_flow import Run, fit

FIGURES = [
    "evidence",
    "waterfall",
    "categories",
    "families",
    "transplants",
    "transport",
]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Run:
    training = dataclasses.replace(tiny.train, epochs=10, lr=1e-2)
    config = tiny.replace(
        train=training, stream=dataclasses.replace(tiny.stream, split=2)
    )
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def report(run) -> Report:
    return diagnose(run, resampling=Resampling(n_resamples=50))


def test_it_holds_what_was_asked(run, report):
    assert repr(report) == f"Report({run.name}: {report.verdict})"
    assert set(report.tables) == {*HEADINGS, "ledger", "recovery"}
    assert set(report.tables["terms"]["task"]) == {0, 1} and set(
        report.tables["transplants"]["task"]
    ) == {0}
    assert report.sentence.startswith("Task 1 fell by ")


def test_it_follows_the_theme_and_says_the_verdict(report):
    page = report._repr_html_()
    assert "var(--jp-content-font-color1" in page and "var(--jp-layout-color1" in page
    assert f"<b>{report.verdict}</b>" in page and "data:image/png;base64," in page
    assert page.count("<details>") == page.count("<table") == len(HEADINGS)
    assert not plt.get_fignums(), "no figure stays open for a notebook to show twice"


def test_figures_are_drawn_without_a_trace(report):
    before = dict(plt.rcParams)
    figures = report.figures()
    assert list(figures) == FIGURES and all(figure.axes for figure in figures.values())
    assert dict(plt.rcParams) == before
    _, each = figures["waterfall"].axes
    assert [label.get_text() for label in each.get_yticklabels()] == [
        "task 1",
        "task 2",
    ]


def test_figures_honour_the_readers_settings_over_those_of_slides(report):
    mine = {"figure.figsize": (8.0, 6.0), "axes.titlesize": 9.0}
    slides = report.figures()["transplants"]
    with plt.rc_context(mine):
        figure = report.figures()["transplants"]
    ax = figure.axes[0]
    assert list(figure.get_size_inches()) == [8.0, 6.0]
    assert ax.title.get_size() == 9.0 and ax.xaxis.label.get_size() == 22.0
    assert list(slides.get_size_inches()) == [12.8, 7.2]


def test_pyplot_shows_later_figures_as_it_showed_earlier_ones(report, tmp_path):
    """In a notebook the backend switches interactive mode on when it first draws."""
    for interactive in (True, False):
        plt.ion() if interactive else plt.ioff()
        report.save(tmp_path / str(interactive))
        _ = report._repr_html_(), report.figures()
        assert plt.isinteractive() == interactive and not plt.get_fignums()


def test_the_recovery_of_another_run_is_refused(run):
    other = pd.DataFrame({"run": ["another"], "strategy": "finetune"})
    with pytest.raises(ValueError, match=f"of {run.name}; got that of another"):
        diagnose(run, recovered=other)


def test_several_runs_are_compared_in_a_table(run, report):
    found = diagnose([run, run], resampling=Resampling(n_resamples=50))
    assert list(found["run"]) == [run.name] * 4 and set(found["task"]) == {0, 1}
    first = found[found["task"] == 0]
    assert set(first["verdict"]) == {report.verdict}
    assert set(first["sentence"]) == {report.sentence}
    with pytest.raises(ValueError, match="a recovery with a single run; got several"):
        diagnose([run, run], recovered=report.tables["recovery"])
    with pytest.raises(ValueError, match="with one or more; got none"):
        diagnose([])


def test_no_training_is_tried_where_none_is_wanted(run):
    found = diagnose(run, train=False, resampling=Resampling(n_resamples=20))
    assert "recovery" not in found.tables
    assert "training" not in set(found.tables["evidence"]["witness"])


def test_no_training_is_tried_where_nothing_fell_unless_it_is_asked_for(tiny, tmp_path):
    """Frozen, a flow gives each class the likelihood that it had."""
    frozen = tiny.replace(strategy="freeze")
    run = fit(frozen, folder=tmp_path, progress=False)
    asked = {"part": "logp", "resampling": Resampling(n_resamples=20)}
    silent, heard = diagnose(run, **asked), diagnose(run, train=True, **asked)
    assert "recovery" not in silent.tables and "recovery" in heard.tables
    assert silent.verdict == heard.verdict == "undetermined"


def test_saving_writes_page_tables_and_figures(report, tmp_path):
    paths = report.save(tmp_path / "out")
    assert all(path.is_file() for path in paths)
    assert {path.suffix for path in paths} == {
        ".html",
        ".parquet",
        ".pdf",
        ".svg",
        ".png",
    }
    terms = pd.read_parquet(tmp_path / "out" / "terms.parquet")
    pd.testing.assert_frame_equal(terms, report.tables["terms"])
    assert not plt.get_fignums()


def test_a_run_from_another_machine_gives_the_same_numbers(run, report, tiny, tmp_path):
    shutil.copytree(
        run.folder, tmp_path / "carried", ignore=shutil.ignore_patterns("tables")
    )
    shutil.copytree(tiny.root, tmp_path / "images")
    there = diagnose(
        Run(tmp_path / "carried", root=tmp_path / "images"),
        resampling=Resampling(n_resamples=50),
    )
    for name in ("terms", "shares"):
        numbers = [
            frame.tables[name].select_dtypes("number").to_numpy()
            for frame in (there, report)
        ]
        np.testing.assert_allclose(*numbers, atol=1e-12)
    assert there.verdict == report.verdict


def test_what_cannot_be_diagnosed_is_named(tiny, tmp_path):
    joint = fit(tiny.replace(strategy="joint"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="learned before it; got none"):
        diagnose(joint)
