"""Measurements agree with `evaluate`, and contrasts of them are paired."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import analysis
from analysis.contrasts import contrast, resampled
from analysis.detection.measure import evaluate
from analysis.intervals import Resampling
from analysis.metrics import image_auroc
from analysis.scoring import Scoring, measure, true_masks


@pytest.mark.parametrize("normalise", ["train", "set"])
@pytest.mark.parametrize("given", ["category", None])
def test_a_measurement_is_what_evaluate_says(run, given, normalise):
    scoring = Scoring(given=(given,), normalise=normalise, size=32)
    evaluated = evaluate(run, scoring=scoring).query("step == 1")
    rows = measure(
        run[1].model(), run.features, run.tasks[0], scoring=scoring, given=given
    )
    both = rows.merge(evaluated, on=["category", "metric", "part"])
    assert len(both) == len(rows) == 18 and np.array_equal(
        both["value_x"], both["value_y"]
    )
    image = rows[rows["metric"] == "image_auroc"]
    assert [
        image_auroc(*pair) for pair in zip(image["labels"], image["scores"])
    ] == list(image["value"])


UNDER_TRUE = re.compile(r"scoring: [^.]*under the true class")


def of_the_true_class() -> dict[str, Callable]:
    """Every function that says that it scores under the true class."""
    found = {}
    for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            own = inspect.isfunction(value) and value.__module__ == module.name
            if own and _of_runs(value) and UNDER_TRUE.search(_docstring(value)):
                found[name] = value
    return found


def _of_runs(function: Callable) -> bool:
    return next(iter(inspect.signature(function).parameters), "") in ("run", "runs")


def _docstring(function: Callable) -> str:
    return " ".join((function.__doc__ or "").split())


@pytest.mark.parametrize("name", sorted(of_the_true_class()))
def test_what_is_measured_under_the_true_class_is_told_so(run, name):
    untold = Scoring(metric="image_auroc", given=None)
    with pytest.raises(ValueError, match="under the true class; got given=\\(None,"):
        of_the_true_class()[name](run, scoring=untold)


def test_the_entropy_of_a_task_is_that_of_a_measurement_among_it(run):
    scoring = Scoring(metric="image_auroc", entropy="task", size=32)
    evaluated = evaluate(run, scoring=scoring).query("step == 1 and task == 0")
    among = measure(
        run[1].model(),
        run.features,
        run.tasks[0],
        scoring=Scoring(metric="image_auroc", size=32),
        known=run.tasks[0],
    )
    both = among.merge(evaluated, on=["category", "metric", "part"])
    assert len(both) == 9 and np.array_equal(both["value_x"], both["value_y"])
    plain = evaluate(run, scoring=Scoring(metric="image_auroc", size=32))
    differs = plain.query("step == 1 and part == 'entropy'")["value"]
    within = evaluate(run, scoring=scoring).query("step == 1 and part == 'entropy'")
    assert not np.array_equal(differs, within["value"])


def test_a_normalisation_changes_the_scores_of_a_measurement(run):
    train, of_set = (
        measure(
            run[1].model(),
            run.features,
            run.tasks[0],
            scoring=Scoring(metric="image_auroc", normalise=normalise, size=32),
        )
        for normalise in ("train", "set")
    )
    assert not any(
        np.array_equal(*pair) for pair in zip(train["scores"], of_set["scores"])
    )


def test_calibration_on_a_few_images_looks_at_no_other(run):
    model, features = run[0].model(), run.features
    training = features.samples["split"] == "train"
    first = features.samples[training].groupby("category").head(2).index
    few = features.take(sorted([*first, *np.flatnonzero(~training)]))
    cut, whole = (
        measure(
            model,
            images,
            run.tasks[0],
            scoring=Scoring(metric="image_auroc", calibrate_on=n, size=32),
        )
        for images, n in ((few, None), (features, 2))
    )
    assert all(np.array_equal(*pair) for pair in zip(cut["scores"], whole["scores"]))
    everything = measure(
        model, features, run.tasks[0], scoring=Scoring(metric="image_auroc", size=32)
    )
    assert not all(
        np.array_equal(*pair) for pair in zip(everything["scores"], whole["scores"])
    )


def test_a_contrast_of_planted_scores():
    labels = np.array([0] * 10 + [1] * 10)
    perfect, blind = labels.astype(float), np.zeros(20)
    rows = pd.DataFrame(
        {
            "category": ["a", "a", "b"],
            "labels": [labels] * 3,
            "scores": [perfect, perfect, blind],
        }
    )
    samples = resampled(rows, resampling=Resampling(n_resamples=50))
    assert (
        samples.shape == (3, 51)
        and (samples[:2] == 1).all()
        and (samples[2] == 0.5).all()
    )
    assert contrast([1, 0, -1], samples) == (0.5, 0.5, 0.5)
    noisy = np.random.default_rng(0).normal(size=20)
    rows["scores"] = [noisy, noisy.copy(), noisy]
    samples = resampled(rows, resampling=Resampling(n_resamples=50))
    assert contrast([1, -1, 0], samples) == (0, 0, 0)
    assert contrast([1, 0, -1], samples).low < 0 < contrast([1, 0, -1], samples).high


def test_wrong_input_is_named(run):
    with pytest.raises(KeyError, match="Unknown metric 'auc'; known: image_auroc"):
        measure(
            run[0].model(), run.features, run.tasks[0], scoring=Scoring(metric="auc")
        )
    pixels = pd.DataFrame({"category": ["a"], "labels": [None], "scores": [None]})
    with pytest.raises(ValueError, match="rows of image_auroc"):
        resampled(pixels)


@pytest.mark.parametrize("calibrate_on", [0, -2])
def test_a_calibration_needs_an_image(calibrate_on):
    with pytest.raises(ValueError, match=f"1 or more; got {calibrate_on}"):
        Scoring(calibrate_on=calibrate_on)


def test_the_set_has_no_images_to_calibrate_on():
    with pytest.raises(ValueError, match="normalise='train' with calibrate_on"):
        Scoring(normalise="set", calibrate_on=4)


@pytest.mark.parametrize("side", [8, 15, 16, 40, 64, 100])
def test_no_defect_is_too_small_for_a_map(tmp_path, side):
    masks = []
    for row, column in ((0, 0), (13, 40), (63, 63)):
        mask = np.zeros((64, 64), np.uint8)
        mask[row, column] = 1
        masks.append(mask)
    samples = []
    for i, mask in enumerate(masks):
        paths = [str(tmp_path / f"{i}{suffix}.png") for suffix in ("", "_mask")]
        for path in paths:
            Image.fromarray(mask).save(path)
        samples.append(paths)
    test = SimpleNamespace(
        samples=pd.DataFrame(samples, columns=["image_path", "mask_path"])
    )
    found = true_masks(test, (side, side))
    defects = found.sum((1, 2))
    shares = found.mean((1, 2))
    assert (defects >= 1).all()
    assert (shares <= max(1, (side / 64) ** 2 * 4) / side**2).all()
    where = np.argwhere(found[1])[0] / side
    assert np.abs(where - np.array([13, 40]) / 64).max() <= 1 / min(side, 64)


def test_a_mask_of_the_maps_size_is_left_as_it_is(tmp_path):
    mask = np.random.default_rng(0).random((20, 30)) > 0.8
    path = str(tmp_path / "mask.png")
    Image.fromarray(mask.astype(np.uint8)).save(path)
    samples = pd.DataFrame({"image_path": [path], "mask_path": [path]})
    test = SimpleNamespace(samples=samples)
    assert (true_masks(test, (20, 30))[0] == mask).all()
    twice = np.kron(mask, np.ones((2, 2), bool))
    assert (true_masks(test, (40, 60))[0] == twice).all()
    halves = mask.reshape(10, 2, 15, 2).any((1, 3))
    assert (true_masks(test, (10, 15))[0] == halves).all()
