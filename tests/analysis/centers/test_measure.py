"""Distances, drift and likeness of centers: laws on a whole tiny run, and planted moves
that must be found.
"""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.centers.conclude import nearest_centers, similarity_correlations
from analysis.centers.measure import center_distances, center_drift, similarity
from analysis.centers.say import summarise_centers
from analysis.intervals import Resampling
from cl_flow import Run, Snapshot, fit


@pytest.fixture(scope="module")
def untrained(tiny, tmp_path_factory):
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=0))
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


def square(table, step, level, value="distance"):
    rows = table[(table["step"] == step) & (table["level"] == level)]
    return rows.pivot(index="category", columns="other", values=value)


def test_distances_are_those_of_the_centers(run):
    table = center_distances(run)
    model = run[1].model()
    for i, level in enumerate(model.levels):
        matrix = square(table, 1, str(i)).loc[
            list(model.categories), list(model.categories)
        ]
        np.testing.assert_allclose(
            matrix, torch.cdist(level.mixture.mu, level.mixture.mu).detach(), atol=1e-4
        )
    np.testing.assert_allclose(
        square(table, 1, "mean"), (square(table, 1, "0") + square(table, 1, "1")) / 2
    )
    assert len(square(table, 0, "mean")) == 3
    assert list(table.columns[:3]) == ["run", "strategy", "seed"]


def test_without_training_centers_lie_where_they_were_placed(untrained):
    table = center_distances(untrained)
    np.testing.assert_array_equal(table["distance"], table["placed"])
    assert (similarity(untrained)["change"] == 0).all()
    assert (center_drift(untrained)["distance"] == 0).all()
    within = table[
        (table["task"] == table["other_task"]) & (table["category"] != table["other"])
    ]
    np.testing.assert_allclose(within["placed"], 5, atol=1e-4)  # HGAD's spacing


def test_placement_is_remembered_from_the_step_it_happened_at(run):
    table = center_distances(run)
    first, later = (square(table, step, "mean", "placed") for step in (0, 1))
    pd.testing.assert_frame_equal(later.loc[first.index, first.columns], first)
    assert (square(table, 0, "mean") != first).to_numpy()[~np.eye(3, dtype=bool)].all()


def test_single_models_are_placed_afresh(tiny, tmp_path):
    table = center_distances(
        fit(tiny.replace(strategy="single"), folder=tmp_path, progress=False)
    )
    placed = table.loc[table["category"] != table["other"], "placed"]
    np.testing.assert_allclose(placed, 5, atol=1e-4)
    assert set(table.loc[table["step"] == 1, "task"]) == {1}


def test_a_center_that_is_moved_is_found_and_no_other(untrained, tmp_path):
    shutil.copytree(untrained.folder, tmp_path / "moved")
    moved = Run(tmp_path / "moved")
    model = moved[1].model()
    with torch.no_grad():
        model.levels[0].mixture.blocks()[0]["mu"][1, 0] += 3.0
    Snapshot.write(moved[1].path, model, {})
    shutil.rmtree(moved.folder / "tables", ignore_errors=True)
    drift = center_drift(moved)
    last = drift[(drift["step"] == 1)].set_index(["level", "category"])["distance"]
    assert last.loc["0", "bee"] == pytest.approx(3)
    assert last.loc["1", "bee"] == 0
    assert last.loc["mean", "bee"] == pytest.approx(1.5)
    assert (last.drop("bee", level="category") == 0).all()


def test_likeness_is_the_distance_of_mean_features(run):
    table = similarity(run)
    normal = run.features.where(split="train", label=0)
    ant, bee = (
        normal.where(category=name).read()[0].double().mean((0, 1))
        for name in ("ant", "bee")
    )
    row = table[
        (table["step"] == 0)
        & (table["level"] == "0")
        & (table["category"] == "ant")
        & (table["other"] == "bee")
    ]
    assert row["feature_distance"].item() == pytest.approx((ant - bee).norm().item())
    assert (table.groupby(["step", "level"]).size() == [3, 3, 3, 15, 15, 15]).all()
    assert (table["category"] < table["other"]).all()


def test_few_categories_have_no_interval(run):
    table = similarity_correlations(
        similarity(run), resampling=Resampling(n_resamples=50)
    )
    assert table.loc[table["step"] == 0, ["low", "high"]].isna().all(axis=None)
    question = table[(table["step"] == 1) & (table["x"] == "feature_distance")]
    assert (
        (question["low"] <= question["rho"]) & (question["rho"] <= question["high"])
    ).all()


def test_the_sentence_holds_the_numbers(run, untrained):
    sentence = summarise_centers(similarity(run), center_drift(run))
    nearest = nearest_centers(similarity(run))
    agree = (nearest.loc[nearest["step"] == 1, "rank"] == 1).sum()
    assert f"For {agree} of 6 categories" in sentence
    assert "nan" not in sentence
    assert "undefined" in summarise_centers(
        similarity(untrained), center_drift(untrained)
    )
