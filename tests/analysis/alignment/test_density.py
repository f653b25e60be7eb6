"""Mixtures under scikit-learn's own checks, and against the engine they stand on."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from analysis.alignment.density import (
    IncrementalGaussianMixture,
    growth,
    moving_clusters,
)
from cl_flow.align import POLICIES, learn_mixture

NAMES = list(POLICIES)
CHECKS = [
    pytest.param(estimator, check, id=f"{name}-{check.func.__name__}")
    for name in NAMES
    for estimator, check in estimator_checks_generator(IncrementalGaussianMixture(name))
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_engine(name):
    x = moving_clusters(200, shuffled=True)
    state = learn_mixture(torch.from_numpy(x), POLICIES[name](), batch=50)
    mixture = IncrementalGaussianMixture(name, batch_size=50).fit(x)
    np.testing.assert_array_equal(
        mixture.score_samples(x), state.log_prob(torch.from_numpy(x))
    )
    np.testing.assert_array_equal(mixture.means_, state.components.mean)
    assert mixture.score(x) == pytest.approx(mixture.score_samples(x).mean())
    np.testing.assert_allclose(mixture.predict_proba(x).sum(1), 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_fit_begins_anew_and_partial_fits_go_on(name):
    x = moving_clusters(200, shuffled=True)
    mixture = IncrementalGaussianMixture(name, batch_size=50)
    first = mixture.fit(x).score(x)
    assert mixture.fit(x).score(x) == first and mixture.state_.seen == 200
    assert mixture.partial_fit(x[:50]).state_.seen == 250


def test_draws_repeat_with_their_seed_and_follow_the_mixture():
    mixture = IncrementalGaussianMixture("online_em", options={"n_components": 3}).fit(
        moving_clusters()
    )
    (a, k), (b, _) = (mixture.sample(20_000, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a.mean(0), mixture.weights_ @ mixture.means_, atol=0.1)
    assert k.shape == (20_000,) and set(k) == {0, 1, 2}


def test_it_can_be_cloned_and_must_be_fitted():
    mixture = IncrementalGaussianMixture("figmn", options={"spread": 1.0}, batch_size=4)
    assert clone(mixture).get_params() == mixture.get_params()
    with pytest.raises(NotFittedError):
        mixture.sample(3)
    with pytest.raises(KeyError, match="Unknown policy 'em'"):
        IncrementalGaussianMixture("em").fit(moving_clusters())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_clusters_come_one_after_the_other_or_shuffled(n):
    ordered, shuffled = (
        moving_clusters(100, n_clusters=n, shuffled=flag) for flag in (False, True)
    )
    assert ordered.shape == (100, 2)
    np.testing.assert_allclose(np.sort(ordered, axis=0), np.sort(shuffled, axis=0))
    angle = np.arctan2(*ordered[: 100 // n].mean(0)[::-1])
    assert abs(angle) < 0.3 and not np.array_equal(ordered, shuffled)


def test_growth_has_the_components_at_each_moment():
    streams = {
        "sorted": moving_clusters(90),
        "shuffled": moving_clusters(90, shuffled=True),
    }
    options = {"spread": 2.0, "beta": 1e-3, "min_age": np.inf}
    table = growth(streams, {"igmn": options, "figmn": options}, after=(5, 90))
    assert set(table["n_points"]) == {5, 90} and set(table["order"]) == {
        "sorted",
        "shuffled",
    }
    sums = table.groupby(["order", "policy", "n_points"])["weight"].sum()
    np.testing.assert_allclose(sums, 1)
    numbers = table.drop(columns=["order", "policy"])
    igmn, figmn = (
        numbers[table["policy"] == name].to_numpy() for name in ("igmn", "figmn")
    )
    np.testing.assert_allclose(igmn, figmn, rtol=1e-8)
    early = table[(table["order"] == "sorted") & (table["n_points"] == 5)]
    assert early["x"].between(3, 7).all()
