"""The three gradient modes against finite differences and autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cl_flow.align import GaussianStats, moments, natural_step

pytestmark = pytest.mark.usefixtures("float64")
N = 60
K = 3
DIM = 4


def setting() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, DIM, generator=generator)
    weights = torch.randn(N, K, generator=generator).softmax(1)
    theta = 0.3 * torch.randn(DIM, DIM, generator=generator)
    return x, weights, theta


def flow(x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """A small invertible map with its log-determinant."""
    z = x @ (torch.eye(DIM) + theta).T
    bent = z + 0.3 * z.tanh()
    log_det = torch.linalg.slogdet(torch.eye(DIM) + theta).logabsdet + (
        1 + 0.3 * (1 - z.tanh() ** 2)
    ).log().sum(1)
    return bent, log_det


def generative(theta: Tensor, mode: str) -> Tensor:
    """−mean Σ_k r_k ln N(z; m_k, S_k/n_k) − log_det, whose mixture is at its optimum."""
    x, weights, _ = setting()
    z, log_det = flow(x, theta)
    return -(
        (weights * moments(z, weights, mode=mode).log_prob(z)).sum(1) + log_det
    ).mean()


def discriminative(theta: Tensor, mode: str) -> Tensor:
    """Cross-entropy of the class posterior: the mixture is not at its optimum."""
    x, weights, _ = setting()
    z, _ = flow(x, theta)
    return (
        -(weights * moments(z, weights, mode=mode).log_prob(z).log_softmax(1))
        .sum(1)
        .mean()
    )


def gradients(
    loss: Callable[[Tensor, str], Tensor], mode: str
) -> tuple[Tensor, Tensor]:
    """By autograd in this mode, and by central differences of the loss itself."""
    theta = setting()[2].requires_grad_()
    (auto,) = torch.autograd.grad(loss(theta, mode), theta)
    numeric = torch.zeros_like(theta)
    with torch.no_grad():
        for i in range(DIM):
            for j in range(DIM):
                step = torch.zeros_like(theta)
                step[i, j] = 1e-5
                numeric[i, j] = (
                    loss(theta + step, "pathwise") - loss(theta - step, "pathwise")
                ) / 2e-5
    return auto, numeric


@pytest.mark.parametrize("mode", ["stop", "pathwise"])
def test_both_are_exact_where_the_moments_are_optimal(mode):
    torch.testing.assert_close(*gradients(generative, mode), rtol=1e-6, atol=1e-8)


def test_only_pathwise_is_exact_where_they_are_not():
    torch.testing.assert_close(
        *gradients(discriminative, "pathwise"), rtol=1e-6, atol=1e-8
    )
    auto, numeric = gradients(discriminative, "stop")
    assert (auto - numeric).norm() > 0.05 * numeric.norm()


def test_stopped_moments_carry_no_gradient():
    x, weights, theta = setting()
    z, _ = flow(x, theta.requires_grad_())
    assert not moments(z, weights).mean.requires_grad
    assert moments(z, weights, mode="pathwise").mean.requires_grad


def test_a_natural_step_is_the_inverse_fisher_times_the_gradient():
    x, weights, _ = setting()
    mu = torch.randn(K, DIM, requires_grad=True)
    batch = GaussianStats.of(x, weights)
    rate = 0.3
    weight = 0.7
    generative = 0.5 * (weights[:, :, None] * (x[:, None] - mu) ** 2).sum() / N
    discriminative = (
        -(weights * (-0.5 * torch.cdist(x, mu) ** 2).log_softmax(1)).sum() / N
    )
    (whole,) = torch.autograd.grad(
        generative + weight * discriminative, mu, retain_graph=True
    )
    (gradient,) = torch.autograd.grad(discriminative, mu)
    hessian = torch.autograd.functional.hessian(
        lambda m: 0.5 * (weights[:, :, None] * (x[:, None] - m) ** 2).sum() / N,
        mu.detach(),
    ).reshape(
        K * DIM, K * DIM
    )  # of the generative term: the Fisher information of the centers
    expected = mu.detach() - rate * torch.linalg.solve(hessian, whole.flatten()).view(
        K, DIM
    )
    got = natural_step(mu.detach(), batch, gradient, rate=rate, weight=weight)
    torch.testing.assert_close(got, expected)


def test_at_rate_one_over_t_and_without_discrimination_it_is_the_batch_mean():
    x = torch.randn(10, 20, DIM)
    mu = torch.zeros(1, DIM)
    for t, part in enumerate(x, start=1):
        mu = natural_step(mu, GaussianStats.of(part), rate=1 / t)
    torch.testing.assert_close(mu[0], x.flatten(0, 1).mean(0))


def test_centers_of_classes_that_a_batch_does_not_hold_stay():
    weights = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    mu = torch.randn(2, DIM)
    after = natural_step(
        mu, GaussianStats.of(torch.randn(5, DIM), weights), torch.ones(2, DIM), rate=0.5
    )
    assert torch.equal(after[1], mu[1]) and not torch.equal(after[0], mu[0])


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(
        KeyError,
        match="Unknown gradient mode 'half'; known: stop, pathwise, and .*natural_step",
    ):
        moments(torch.zeros(2, DIM), torch.ones(2, 1), mode="half")
