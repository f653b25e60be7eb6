"""Gaussian statistics against NumPy and torch.distributions.

However a stream is cut, its statistics are the same.
"""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from cl_flow.align import GaussianStats

pytestmark = pytest.mark.usefixtures("float64")
N = 40
K = 3
DIM = 5


@pytest.fixture
def x() -> torch.Tensor:
    return (
        torch.randn(N, DIM, generator=torch.Generator().manual_seed(0))
        @ torch.randn(DIM, DIM)
        + 7
    )


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.rand(N, K, generator=torch.Generator().manual_seed(1))


def same(a: GaussianStats, b: GaussianStats) -> None:
    for name in ("n", "mean", "scatter"):
        torch.testing.assert_close(
            getattr(a, name), getattr(b, name), rtol=1e-10, atol=1e-10
        )


def test_they_are_the_weighted_moments(x, weights):
    stats = GaussianStats.of(x, weights)
    for k in range(K):
        w = weights[:, k].numpy()
        np.testing.assert_allclose(stats.mean[k], np.average(x, axis=0, weights=w))
        np.testing.assert_allclose(
            stats.covariance()[k], np.cov(x.T, aweights=w, ddof=0)
        )


@pytest.mark.parametrize("cut", [1, 13, 39])
def test_two_parts_merge_into_the_whole_in_either_order(x, weights, cut):
    a = GaussianStats.of(x[:cut], weights[:cut])
    b = GaussianStats.of(x[cut:], weights[cut:])
    same(a.merge(b), GaussianStats.of(x, weights))
    same(b.merge(a), GaussianStats.of(x, weights))


def test_merging_is_associative_and_one_by_one_is_all_at_once(x, weights):
    total = GaussianStats.empty(K, DIM)
    for i in torch.randperm(N):
        total = total.merge(GaussianStats.of(x[i : i + 1], weights[i : i + 1]))
    same(total, GaussianStats.of(x, weights))


def test_nothing_merged_changes_nothing(x):
    stats = GaussianStats.of(x)
    same(stats.merge(GaussianStats.empty(1, DIM)), stats)
    same(GaussianStats.empty(1, DIM).merge(stats), stats)


def test_a_constant_far_away_has_no_scatter():
    assert GaussianStats.of(torch.full((100, DIM), 1e8)).scatter.abs().max() == 0


def test_decay_keeps_the_gaussian_and_halves_its_say(x):
    stats = GaussianStats.of(x)
    half = stats.decay(0.5)
    torch.testing.assert_close(half.covariance(), stats.covariance())
    torch.testing.assert_close(half.n, stats.n / 2)
    same(half.merge(half), stats)


def test_density_is_that_of_the_distribution(x, weights):
    stats = GaussianStats.of(x, weights)
    expected = MultivariateNormal(stats.mean, stats.covariance()).log_prob(x[:, None])
    torch.testing.assert_close(stats.log_prob(x), expected)


def test_draws_have_the_moments_that_they_are_drawn_from(x):
    stats = GaussianStats.of(x)
    drawn = GaussianStats.of(
        stats.sample(200_000, generator=torch.Generator().manual_seed(0))[0]
    )
    torch.testing.assert_close(drawn.mean, stats.mean, rtol=0.02, atol=0.02)
    torch.testing.assert_close(
        drawn.covariance(), stats.covariance(), rtol=0.05, atol=0.05
    )


def test_full_shrinkage_is_a_sphere_of_equal_trace(x):
    stats = GaussianStats.of(x)
    sphere = stats.covariance(shrinkage=1.0)[0]
    torch.testing.assert_close(sphere.trace(), stats.covariance()[0].trace())
    assert torch.equal(sphere, sphere.diagonal().diag())


def test_a_selection_holds_the_chosen_components(x, weights):
    stats = GaussianStats.of(x, weights)
    assert len(stats[1]) == 1 and torch.equal(stats[1].mean[0], stats.mean[1])
    assert torch.equal(stats[torch.tensor([2, 0])].n, stats.n[[2, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: GaussianStats.of(x[0]), r"points \(N, D\).*got \(5,\)"),
        (
            lambda x: GaussianStats.of(x, torch.ones(3, 1)),
            r"weights \(N, K\).*\(3, 1\)",
        ),
        (
            lambda x: GaussianStats.of(x, -torch.ones(N, 1)),
            "weights of 0 or more; got -1",
        ),
        (
            lambda x: GaussianStats.of(x).merge(GaussianStats.empty(2, DIM)),
            r"one shape.*\(1, 5\) and \(2, 5\)",
        ),
        (lambda x: GaussianStats.of(x[:3]).log_prob(x), "full rank.*shrinkage > 0"),
    ],
)
def test_wrong_input_is_named(x, call, message):
    with pytest.raises(ValueError, match=message):
        call(x)
