"""What scores of images say beyond one AUROC."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import Scoring, evaluate, image_scores
from analysis.detection import (
    defect_aurocs,
    plot_categories,
    plot_defects,
    plot_roc,
    plot_routes,
    plot_scores,
    plot_thresholds,
    roc_points,
    routes,
    thresholds,
)
from analysis.metrics import image_auroc

SMALL = Scoring(size=32, sigma=1.0)


@pytest.fixture(scope="module")
def scores(run) -> pd.DataFrame:
    return image_scores(run, scoring=SMALL)


def only(scores: pd.DataFrame, **values) -> pd.DataFrame:
    for column, value in values.items():
        scores = scores[scores[column] == value]
    return scores


def area(points: pd.DataFrame) -> float:
    heights = points["recall"].rolling(2).mean()
    return float((heights * points["fpr"].diff()).sum())


@pytest.mark.parametrize("category", ["ant", "elk"])
def test_the_area_under_a_curve_is_the_auroc(scores, category):
    points = roc_points(scores, category=category)
    rows = only(scores, category=category, part="product")
    ends = {"learnt": rows["step"].min(), "last": rows["step"].max()}
    for when, step in ends.items():
        one = rows[rows["step"] == step]
        expected = image_auroc(one["label"], one["score"])
        assert area(only(points, when=when)) == pytest.approx(expected)


def test_pooled_curves_do_not_depend_on_a_categorys_scale(scores):
    scaled = scores.copy()
    scaled.loc[scaled["category"] == "ant", "score"] *= 1000
    pd.testing.assert_frame_equal(roc_points(scaled), roc_points(scores))


def test_curves_end_where_all_is_called_anomalous(scores):
    for _, one in roc_points(scores).groupby("when"):
        assert one.iloc[0][["fpr", "recall"]].tolist() == [0, 0]
        assert one.iloc[-1][["fpr", "recall"]].tolist() == [1, 1]
        assert (one[["fpr", "recall"]].diff().dropna() >= 0).all(axis=None)


def test_a_kind_of_defect_is_measured_against_normal_images(scores):
    told = defect_aurocs(scores)
    assert told["category"].tolist() == ["ant", "bee", "cat", "dog", "elk", "fox"]
    row = told.iloc[0]
    rows = only(scores, category="ant", part="product")
    for when, step in (("learnt", 0), ("last", 1)):
        one = rows[rows["step"] == step]
        assert row[when] == pytest.approx(image_auroc(one["label"], one["score"]))
    assert row["images"] == 5


def test_routes_are_shares_of_normal_images(run):
    scored = image_scores(run, scoring=Scoring(size=32, given=None))
    told = routes(scored)
    order = [name for task in run.tasks for name in task]
    assert list(told.index) == list(told.columns) == order
    np.testing.assert_allclose(told.sum(axis=1), 1)
    first = routes(scored, step=0)
    assert list(first.columns) == list(run.tasks[0])
    normal = only(scored, step=1, label=0, part="product", category="bee")
    assert told.loc["bee", "bee"] == (normal["routed"] == "bee").mean()


def planted(factor: float) -> pd.DataFrame:
    """Perfectly told apart at first; later every score is larger."""
    rows = []
    for step, scale in ((0, 1.0), (1, factor)):
        for i in range(4):
            rows.append((step, "good", 0, (1 + i) * scale))
            rows.append((step, "crack", 1, (10 + i) * scale))
    table = pd.DataFrame(rows, columns=["step", "defect", "label", "score"])
    keys = {"run": "r", "strategy": "finetune", "part": "product", "given": "category"}
    return table.assign(task=0, category="cup", **keys)


def test_a_threshold_that_is_kept_calls_all_anomalous_when_scores_grow():
    (row,) = thresholds(planted(20.0)).itertuples()
    assert row.threshold == 10 and row.learnt == row.last == 1.0
    assert row.false_alarms == 1.0 and row.kept == pytest.approx(2 * 4 / (8 + 4))
    (row,) = thresholds(planted(0.1)).itertuples()
    assert row.kept == 0.0 and row.false_alarms == 0.0 and row.last == 1.0
    (row,) = thresholds(planted(1.0)).itertuples()
    assert row.kept == row.learnt == 1.0


# ---- drawn


def test_every_picture_names_its_axes_and_shows_what_it_was_given(run, scores):
    ax = plot_scores(scores, "ant", step=0, ax=plt.figure().gca())
    counts = sum(bar.get_height() for bar in ax.patches)
    assert counts == 9 and ax.get_title() == "ant, after task 1"
    ax = plot_roc(roc_points(scores), kind="pr", ax=plt.figure().gca())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "when learned",
        "under the last model",
    ]
    ax = plot_defects(defect_aurocs(scores), most=4, ax=plt.figure().gca())
    assert len(ax.get_yticklabels()) == 4
    ax = plot_thresholds(thresholds(scores), ax=plt.figure().gca())
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        name for task in run.tasks for name in task
    ]
    told = routes(image_scores(run, scoring=Scoring(size=32, given=None)))
    ax = plot_routes(told, ax=plt.figure().gca())
    assert ax.get_xlabel() == "scored under" and len(ax.get_xticklabels()) == 6
    evaluated = evaluate(run, scoring=SMALL)
    ax = plot_categories(evaluated, ax=plt.figure().gca())
    texts = [text.get_text() for text in ax.texts if text.get_text() != "nan"]
    assert len([text for text in texts if text]) == 3 * 2 + 3
    values = only(evaluated, metric="image_auroc", part="product", category="ant")
    assert texts[0] == f"{values.iloc[0]['value']:.2f}"


def test_wrong_choices_are_named(scores):
    with pytest.raises(ValueError, match="category='owl'; there are: ant"):
        plot_scores(scores, "owl")
    with pytest.raises(IndexError, match="a step between -2 and 1; got 7"):
        plot_scores(scores, "ant", step=7)
    with pytest.raises(ValueError, match="kind='roc' or 'pr'; got 'det'"):
        plot_roc(roc_points(scores), kind="det")
    with pytest.raises(ValueError, match="given='None'; there are: category"):
        routes(scores)
    two = pd.concat([scores, scores.assign(strategy="ewc", run="other")])
    with pytest.raises(ValueError, match="one strategy; got ewc, finetune"):
        thresholds(two)
