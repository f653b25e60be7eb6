"""Means over images: their resamples are paired within a category."""

import numpy as np
import pandas as pd
import pytest

from analysis.contrasts import contrast, resampled_means
from analysis.intervals import Resampling


def rows(*scores: np.ndarray, category: str = "ant") -> pd.DataFrame:
    table = pd.DataFrame({"scores": list(scores), "category": category})
    return table.assign(value=[one.mean() for one in scores])


def test_an_interval_of_a_mean_is_that_of_its_standard_error():
    scores = np.random.default_rng(0).normal(2, 1, 400)
    samples = resampled_means(rows(scores), Resampling(n_resamples=4000))
    low, high = np.quantile(samples[0, 1:], [0.025, 0.975])
    assert samples[0, 0] == pytest.approx(scores.mean())
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 20, rel=0.05)


def test_what_an_image_does_to_both_rows_cancels():
    scores = np.random.default_rng(0).normal(size=50)
    samples = resampled_means(rows(scores, scores + 0.25))
    assert contrast([-1, 1], samples) == (0.25, 0.25, 0.25)
    both = pd.concat([rows(scores), rows(scores + 0.25, category="bee")])
    apart = contrast([-1, 1], resampled_means(both))
    assert apart.value == 0.25 and apart.low < 0 < 0.5 < apart.high


def test_resamples_vary_around_the_value_that_a_row_tells():
    scores = np.random.default_rng(0).normal(1.2, 0.1, 30)
    samples = resampled_means(rows(scores).assign(value=1.0))
    assert samples[0, 0] == 1.0 and abs(samples[0, 1:].mean() - 1.0) < 0.01
