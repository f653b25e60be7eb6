"""Tables of a tiny run: what is cached and when it is not, and numbers against
scikit-learn and by hand.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import analysis.experiments as module
from analysis.detection.conclude import (
    category_scores,
    field_table,
    final_means,
    r_matrix,
    summary,
    task_table,
)
from analysis.detection.measure import evaluate, forgetting_table, image_scores
from analysis.detection.say import summarise, summarise_forgetting
from analysis.experiments import table
from analysis.intervals import Resampling
from analysis.pictures.measure import examples
from analysis.rows import beside, chosen, load_reference
from analysis.scoring import METRICS, Scoring
from cl_flow import Run, fit
from cl_flow.runs.config import load_samples


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    names = ("finetune", "joint", "single")
    return {
        name: fit(tiny.replace(strategy=name), folder=folder, progress=False)
        for name in names
    }


@pytest.fixture(scope="module")
def evaluated(runs) -> pd.DataFrame:
    return evaluate(
        runs.values(),
        scoring=Scoring(metric=tuple(METRICS), given=("category", None), size=32),
    )


def test_every_step_category_metric_part_and_choice_has_one_value(evaluated):
    keys = ["run", "step", "task", "category", "metric", "part", "given"]
    assert (
        not evaluated.duplicated(keys).any() and evaluated["value"].between(0, 1).all()
    )
    steps = evaluated.groupby(["strategy", "step"])["category"].nunique().to_dict()
    assert steps == {
        ("finetune", 0): 3,
        ("finetune", 1): 6,
        ("joint", 0): 6,
        ("single", 0): 3,
        ("single", 1): 3,
    }
    assert list(evaluated.columns[:3]) == ["run", "strategy", "seed"]


def test_images_are_scored_once_whatever_is_measured_of_them(runs, monkeypatch):
    both = Scoring(given=("category", None), size=32)
    rows = image_scores(runs["finetune"], scoring=both)

    def again(*args, **options):
        raise AssertionError("scored again")

    monkeypatch.setattr("analysis.detection.measure.scored", again)
    for part in ("entropy", ("logp", "product")):
        for given in ("category", None):
            one = Scoring(metric="image_ap", part=part, given=given, size=32)
            found = image_scores(runs["finetune"], scoring=one)
            wanted = rows["part"].isin(one.part) & (rows["given"] == str(given))
            expected = rows[wanted].reset_index(drop=True)
            pd.testing.assert_frame_equal(found, expected)
    assert len(forgetting_table(runs["finetune"], scoring=Scoring(size=32))) == 3
    with pytest.raises(AssertionError, match="scored again"):
        image_scores(runs["finetune"], scoring=Scoring(size=32, sigma=1.0))


def test_evaluate_agrees_with_the_image_scores(runs, evaluated):
    scores = image_scores(runs["finetune"], scoring=Scoring(size=32))
    chosen = scores[
        (scores["step"] == 1)
        & (scores["category"] == "bee")
        & (scores["part"] == "product")
    ]
    assert len(chosen) == 9 and (chosen["routed"] == "bee").all()
    rows = evaluated.query(
        "strategy == 'finetune' and step == 1 and category == 'bee' and part == 'product'"
    )
    value = rows.query("metric == 'image_auroc' and given == 'category'")[
        "value"
    ].item()
    assert value == pytest.approx(roc_auc_score(chosen["label"], chosen["score"]))


def test_r_matrix_is_the_mean_over_a_tasks_categories(evaluated):
    finetune = evaluated[evaluated["strategy"] == "finetune"]
    R = r_matrix(finetune)
    assert (
        R.shape == (2, 2)
        and np.isnan(R[0, 1])
        and np.isfinite(R[[0, 1, 1], [0, 0, 1]]).all()
    )
    rows = finetune.query("step == 1 and task == 0 and metric == 'image_auroc'")
    rows = rows.query("part == 'product' and given == 'category'")
    assert R[1, 0] == pytest.approx(rows["value"].mean())
    assert r_matrix(evaluated[evaluated["strategy"] == "joint"]).shape == (1, 2)
    with pytest.raises(
        ValueError, match="runs of one strategy; got finetune, joint, single"
    ):
        r_matrix(evaluated)
    with pytest.raises(
        ValueError,
        match="Expected rows with part='sum'; there are: logp, entropy, product",
    ):
        r_matrix(finetune, part="sum")


def test_a_table_is_computed_once_per_options_and_training(runs):
    calls = []

    @table
    def counted(run: Run, *, times: int = 2) -> pd.DataFrame:
        calls.append(run.name)
        return pd.DataFrame({"value": range(times)})

    run = runs["finetune"]
    first, again, other = counted(run), counted(run, times=2), counted(run, times=3)
    assert calls == [run.name] * 2 and first.equals(again) and len(other) == 3
    assert list(first.columns[[0, 1, 2, -1]]) == ["run", "strategy", "seed", "value"]
    assert len(counted(runs.values())) == 6 and len(calls) == 4


def test_other_code_is_another_table(runs, monkeypatch):
    calls = []

    @table
    def watched(run: Run) -> pd.DataFrame:
        calls.append(run)
        return pd.DataFrame({"value": [1]})

    watched(runs["finetune"])
    monkeypatch.setattr(module, "code_digest", lambda name: "edited")
    watched(runs["finetune"])
    assert len(calls) == 2


def test_forgetting_has_paired_intervals_around_the_change(runs, evaluated):
    R = r_matrix(evaluated[evaluated["strategy"] == "finetune"])
    for metric in ("image_auroc", "pixel_auroc"):
        frame = forgetting_table(
            runs["finetune"], metric=metric, resampling=Resampling(n_resamples=200)
        )
        assert frame["task"].tolist() == ["0", "1", "average"]
        assert (frame["low"] <= frame["change"] + 1e-12).all() and (
            frame["change"] <= frame["high"] + 1e-12
        ).all()
        assert frame.loc[1, ["change", "low", "high"]].tolist() == [0, 0, 0], (
            "the last task had no time to be forgotten"
        )
        assert frame.loc[0, "categories"] == "ant, bee, cat"
    image = forgetting_table(runs["finetune"], resampling=Resampling(n_resamples=50))
    assert image.loc[0, "change"] == pytest.approx(R[1, 0] - R[0, 0], abs=0.2)
    assert "Since they were learned, image AUROC changed by" in summarise_forgetting(
        image, image
    )
    with pytest.raises(
        KeyError,
        match="Unknown metric of an interval 'aupro'; known: image_auroc, pixel_auroc",
    ):
        forgetting_table(runs["finetune"], metric="aupro")


def test_task_table_and_summary(evaluated):
    frame = task_table(evaluated[evaluated["strategy"] == "finetune"])
    assert frame["task"].tolist() == ["0", "1", "average"]
    assert frame.loc[2, "image_auroc"] == pytest.approx(
        frame.loc[:1, "image_auroc"].mean()
    )
    rows = summary(evaluated).set_index("strategy")
    assert np.isfinite(rows["final_mean"]).all()
    assert rows["bwt"].isna().to_dict() == {
        "finetune": False,
        "joint": True,
        "single": True,
    }
    assert "joint training" in summarise(evaluated) and "1 seed," in summarise(
        evaluated
    )


def test_the_fields_table_has_every_metric_with_its_definition(evaluated):
    rows = evaluated[evaluated["strategy"] == "finetune"]
    table = field_table(rows).set_index("metric")
    assert set(table.index) == set(METRICS) and table["definition"].all()
    R = r_matrix(rows, metric="pixel_iou")
    assert table.loc["pixel_iou", "ACC"] == pytest.approx(R[-1].mean())
    assert table.loc["pixel_iou", "BWT"] == pytest.approx(R[-1, 0] - R[0, 0])
    assert table.loc["pixel_iou", "FM"] == pytest.approx(-table.loc["pixel_iou", "BWT"])


def test_scores_of_categories_are_those_of_the_last_model(evaluated):
    rows = evaluated[evaluated["strategy"] == "finetune"]
    scores = category_scores(rows, metric="pixel_ap", part="logp")
    asked = {"metric": "pixel_ap", "part": "logp", "given": "category", "step": 1}
    own = chosen(rows, **asked, category="dog")["value"]
    assert len(scores) == 6 and scores["dog"] == pytest.approx(own.mean())


def test_published_tables_stand_beside_ours(evaluated):
    slides = load_reference("slides_task_table")
    both = beside(task_table(evaluated[evaluated["strategy"] == "finetune"]), slides)
    assert both.index.tolist() == ["0", "1", "average"]
    assert both.loc["average", ("slides", "image_auroc")] == 0.644
    with pytest.raises(
        KeyError, match="Unknown reference 'slides'; known: .*slides_task_table"
    ):
        load_reference("slides")


def test_examples_show_each_kind_of_defect_with_its_mask(tiny, runs):
    frame = examples(load_samples(tiny), runs["finetune"].tasks)
    assert frame["category"].drop_duplicates().tolist() == [
        "ant",
        "bee",
        "cat",
        "dog",
        "elk",
        "fox",
    ]
    assert frame["defect"].tolist() == ["good", "blot"] * 6
    assert [mask.any() for mask in frame["mask"]] == [False, True] * 6


def test_wrong_input_is_named(runs, tiny, tmp_path):
    with pytest.raises(KeyError, match="Unknown metric 'auroc'; known: image_auroc"):
        evaluate(runs["finetune"], scoring=Scoring(metric="auroc"))
    with pytest.raises(ValueError, match="at least one run; got none"):
        evaluate([])
    with pytest.raises(
        ValueError, match="at least one task learned; got Run.*unfinished"
    ):
        evaluate(Run.at(tiny.replace(seed=9), folder=tmp_path))
    with pytest.raises(TypeError, match="metrics"):
        evaluate(runs["finetune"], metrics=("image_auroc",))


def test_the_keywords_of_before_still_work_for_one_release(runs):
    with pytest.warns(DeprecationWarning, match=r"part, size: pass scoring=Scoring"):
        before = evaluate(runs["joint"], part="logp", size=32)
    now = evaluate(runs["joint"], scoring=Scoring(part="logp", size=32))
    pd.testing.assert_frame_equal(before, now)


@pytest.mark.parametrize(("values", "error", "message"), [
    ({"metric": "auroc"}, KeyError, "Unknown metric 'auroc'; known: image_auroc"),
    ({"part": ("logp", "sum")}, KeyError, "Unknown part 'sum'; known: logp, entropy"),
    ({"given": ("class",)}, KeyError, "Unknown class 'class'; known: category, None"),
    ({"normalise": "max"}, KeyError, "Unknown normalisation 'max'; known: train, set"),
    ({"metric": ()}, KeyError, "known: image_auroc"),
    ({"size": 0}, ValueError, r"size=…\) 1 or more; got 0"),
    ({"sigma": -1.0}, ValueError, r"sigma=…\) 0 or more; got -1"),
])  # fmt: skip
def test_a_scoring_that_cannot_be_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        Scoring(**values)


def test_resampling_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"n_resamples=…\) 1 or more; got 0"):
        Resampling(n_resamples=0)


def test_the_last_models_means_hold_an_interval_over_test_images(runs):
    scores = image_scores(runs.values(), scoring=Scoring(size=32))
    evaluated = evaluate(runs.values(), scoring=Scoring(size=32))
    means = final_means(scores).set_index("strategy")
    expected = summary(evaluated).set_index("strategy")["final_mean"]
    assert means["value"].to_dict() == pytest.approx(expected.to_dict())
    assert (means["low"] <= means["value"]).all()
    assert (means["value"] <= means["high"]).all()
    assert (means["low"] < means["high"]).any()
    words = summarise(evaluated, scores)
    low, high = means.loc["finetune", ["low", "high"]]
    assert f"[{low:.3f}, {high:.3f}]" in words and "over test images" in words
    assert "over test images" not in summarise(evaluated)


def test_forgetting_is_measured_on_the_scores_that_are_asked_for(runs):
    by_set = Scoring(size=32, normalise="set")
    quick = {"resampling": Resampling(n_resamples=20)}
    told = forgetting_table(runs["finetune"], scoring=by_set, **quick)
    R = r_matrix(evaluate(runs["finetune"], scoring=by_set))
    assert told["final"][0] == pytest.approx(R[1, 0])
    assert told["learned"][0] == pytest.approx(R[0, 0])
