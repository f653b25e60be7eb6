"""Conclusions on centers, of pairs drawn by hand and against brute force."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.centers.conclude import nearest_centers, similarity_correlations
from analysis.intervals import Resampling


@pytest.fixture
def pairs():
    """Pairs of five categories, their centers about as far apart as their looks."""
    rng = np.random.default_rng(0)
    names = list("abcde")
    rows = [
        (x, y, rng.uniform(1, 9)) for i, x in enumerate(names) for y in names[i + 1 :]
    ]
    frame = pd.DataFrame(rows, columns=["category", "other", "feature_distance"])
    frame = frame.assign(
        center_distance=frame["feature_distance"] + rng.normal(0, 2, len(frame)),
        placed=5.0,
    )
    frame = frame.assign(
        change=frame["center_distance"] - frame["placed"],
        step=0,
        level="mean",
        strategy="finetune",
    )
    return frame.assign(task=0, other_task=0)


def test_correlation_is_spearmans_and_a_resample_repeats_categories(pairs):
    table = similarity_correlations(pairs, resampling=Resampling(n_resamples=400))
    row = table[
        (table["x"] == "feature_distance") & (table["y"] == "center_distance")
    ].iloc[0]
    assert row["rho"] == pytest.approx(
        spearmanr(pairs["feature_distance"], pairs["center_distance"]).statistic
    )
    samples = brute_force(pairs, 400)
    np.testing.assert_allclose(
        [row["low"], row["high"]], np.nanquantile(samples, [0.025, 0.975]), atol=1e-9
    )
    assert table.loc[table["x"] == "placed", "rho"].isna().all()


def brute_force(pairs, n_resamples):
    """Every drawn pair as a row of its own."""
    draws = np.random.default_rng(0).multinomial(5, np.full(5, 0.2), size=n_resamples)
    out = []
    for draw in draws:
        n = dict(zip("abcde", draw))
        times = [n[a] * n[b] for a, b in zip(pairs["category"], pairs["other"])]
        rows = pairs.loc[pairs.index.repeat(times)]
        looks = rows["feature_distance"]
        rho = np.nan
        if looks.nunique() > 1:
            rho = spearmanr(looks, rows["center_distance"]).statistic
        out.append(rho)
    return out


def test_nearest_centers_and_lookalikes(pairs):
    pairs = pairs.assign(center_distance=9.0, feature_distance=9.0)
    # a and b lie close, yet c looks more like a than b does.
    pairs.loc[0, "center_distance"] = 1.0
    pairs.loc[[0, 1], "feature_distance"] = [3.0, 2.0]
    table = nearest_centers(pairs).set_index("category")
    assert list(table.index) == list("abcde")
    columns = ["nearest", "distance", "lookalike", "rank", "n"]
    assert table.loc["a", columns].tolist() == ["b", 1.0, "c", 2, 4]
    assert table.loc["b", ["nearest", "lookalike", "rank"]].tolist() == ["a", "a", 1]


def test_wrong_input_is_named(pairs):
    with pytest.raises(ValueError, match="level='7'; there are: mean"):
        nearest_centers(pairs, level="7")
    with pytest.raises(ValueError, match="one strategy; got finetune, joint"):
        nearest_centers(pd.concat([pairs, pairs.assign(strategy="joint")]))
