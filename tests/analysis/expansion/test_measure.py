"""Expansion of a tiny run: what may not change does not, to the bit, and what changes
is split without remainder.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.detection.measure import evaluate
from analysis.expansion.conclude import (
    expansion_drops,
    expansion_table,
    expansion_terms,
)
from analysis.expansion.measure import measure_expansion
from analysis.expansion.say import summarise_expansion
from analysis.intervals import Resampling
from analysis.scoring import Scoring, measure
from cl_flow import fit
from cl_flow.model.placement import smallest_distance

KEYS = ["placement", "given", "entropy", "category", "metric", "part"]


@pytest.fixture(scope="module")
def expanded(run) -> pd.DataFrame:
    return measure_expansion(run, scoring=Scoring(given=("category", None), size=32))


def scores_at(expanded: pd.DataFrame, added: int, **values: str) -> np.ndarray:
    rows = expanded[
        (expanded["added"] == added) & (expanded["metric"] == "image_auroc")
    ]
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return np.stack(list(rows.sort_values(KEYS)["scores"]))


def test_a_scoring_that_decides_the_entropy_is_refused(run):
    with pytest.raises(ValueError, match="entropy='all', since `entropy` decides here"):
        measure_expansion(run, scoring=Scoring(entropy="task"))


def test_every_setting_has_one_value(expanded):
    assert (
        not expanded.duplicated([*KEYS, "added"]).any()
        and expanded["value"].between(0, 1).all()
    )
    assert expanded.groupby(KEYS)["added"].apply(list).map(lambda n: n == [0, 3]).all()
    assert set(expanded["placement"]) == {"tile", "retile", "orthogonal", "data"}
    assert expanded.loc[expanded["metric"] == "pixel_auroc", "scores"].isna().all()


@pytest.mark.parametrize("placement", ["tile", "orthogonal", "data"])
def test_likelihood_and_masked_entropy_keep_their_bits(expanded, placement):
    for values in ({"part": "logp"}, {"entropy": "masked"}):
        before, after = (
            scores_at(expanded, n, placement=placement, given="category", **values)
            for n in (0, 3)
        )
        assert len(before) and np.array_equal(before, after)
    whole = [
        scores_at(expanded, n, placement=placement, part="entropy", entropy="all")
        for n in (0, 3)
    ]
    assert not np.allclose(*whole)


def test_tiling_all_anew_moves_even_the_likelihood(expanded):
    before, after = (
        scores_at(expanded, n, placement="retile", given="category", part="logp")
        for n in (0, 3)
    )
    assert not np.allclose(before, after)


def test_entropies_agree_where_no_class_is_added(expanded):
    one = {"given": "category", "placement": "tile"}
    assert np.array_equal(
        *(scores_at(expanded, 0, entropy=kind, **one) for kind in ("all", "masked"))
    )
    divided = scores_at(expanded, 0, entropy="log_k", part="entropy", **one)
    assert not np.allclose(
        divided, scores_at(expanded, 0, entropy="all", part="entropy", **one)
    )


def test_distances_tell_where_centers_landed(run, expanded):
    nearest = (
        expanded[expanded["added"] == 3]
        .groupby("placement")["smallest_distance"]
        .first()
    )
    learnt = min(smallest_distance(level.mixture.mu) for level in run[0].model().levels)
    assert nearest["retile"] == pytest.approx(5.0) and nearest["tile"] < 3
    assert nearest["orthogonal"] == pytest.approx(min(learnt, 5.0), abs=1e-3)


def test_data_centers_are_the_means_of_the_latents(run, expanded):
    """Measured on a model that is expanded by hand."""
    model, data = run[0].model(), [[], []]
    for name in run.tasks[1]:
        for i, x in enumerate(run.features.where(split="train", category=name).read()):
            with torch.no_grad():
                data[i].append(model.levels[i](x.flatten(0, 1).float())[0].mean(0))
    model.expand_(
        run.tasks[1], init="data", data=[torch.stack(level) for level in data]
    )
    expected = measure(
        model,
        run.features,
        run.tasks[0],
        scoring=Scoring(metric="image_auroc", part="entropy", size=32),
    )
    found = scores_at(
        expanded, 3, placement="data", given="category", entropy="all", part="entropy"
    )
    np.testing.assert_allclose(
        found, np.stack(list(expected["scores"])), rtol=1e-4, atol=1e-5
    )


def test_before_expansion_it_is_what_evaluate_says(run, expanded):
    evaluated = evaluate(run, scoring=Scoring(size=32)).query("step == 0")
    rows = expanded.query(
        "added == 0 and placement == 'tile' and entropy == 'all' and given == 'category'"
    )
    both = rows.merge(
        evaluated, on=["category", "metric", "part"], suffixes=("", "_evaluated")
    )
    assert len(both) == 3 * 2 * 3 and np.array_equal(
        both["value"], both["value_evaluated"]
    )


def test_drops_are_paired_by_category(expanded):
    drops = expansion_drops(expanded, resampling=Resampling(n_resamples=200))
    zero = drops[
        (drops["part"] == "logp")
        & (drops["placement"] == "tile")
        & (drops["given"] == "category")
    ]
    assert len(zero) == 3 * 4 and not zero[["change", "low", "high"]].any(axis=None)
    one = drops.query(
        "placement == 'tile' and part == 'entropy' and entropy == 'all' and given == 'category'"
    )
    np.testing.assert_allclose(one["change"], one["after"] - one["before"], atol=1e-12)
    assert (one["low"] <= one["change"]).all() and (one["change"] <= one["high"]).all()
    mean, single = one[one["category"] == "mean"], one[one["category"] != "mean"]
    assert mean["change"].item() == pytest.approx(single["change"].mean())


def test_terms_add_up(expanded):
    terms = expansion_terms(
        expanded, part="entropy", resampling=Resampling(n_resamples=200)
    ).set_index("term")["value"]
    assert terms["more classes"] + terms["placement"] == pytest.approx(
        terms["total"], abs=1e-12
    )
    with pytest.raises(
        ValueError, match="tile and orthogonal; got no rows with orthogonal"
    ):
        expansion_terms(expanded[expanded["placement"] != "orthogonal"])


def test_the_slides_form_and_the_sentence(expanded):
    frame = expansion_table(expanded)
    assert list(frame.columns) == ["stage", "category", "image_auroc", "pixel_auroc"]
    assert list(frame["stage"]) == ["after_task_1"] * 3 + ["expanded_for_task_2"] * 3
    sentence = summarise_expansion(expansion_drops(expanded), expansion_terms(expanded))
    assert "Adding 3 centers" in sentence
    assert (
        "likelihood alone changed by 0 at most" in sentence
        and "task 1 by 0." in sentence
    )


def test_wrong_input_is_named(run, tiny, tmp_path):
    with pytest.raises(
        KeyError, match="Unknown entropy 'none'; known: all, masked, log_k"
    ):
        measure_expansion(run, entropy=("none",))
    with pytest.raises(KeyError, match="Unknown metric 'auc'; known: image_auroc"):
        measure_expansion(run, scoring=Scoring(metric="auc"))
    joint = fit(tiny.replace(strategy="joint"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="a run that learns ant, bee, cat first"):
        measure_expansion(joint)
