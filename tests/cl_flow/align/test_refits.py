"""Refits against closed forms and each other.

Nested families never lose likelihood, planted maps are undone.
"""

import pytest
import torch

from cl_flow.align.refits import FAMILIES, refit
from cl_flow.model.mixture import Mixture

pytestmark = pytest.mark.usefixtures("float64")
DIM = 6
M = 4
K = 3
N = 4000
EXACT = {"shrinkage": 0.0}


@pytest.fixture
def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(1)
    mixture = (
        Mixture(DIM, n_components=M)
        .expand(2, generator=generator)
        .expand(1, generator=generator)
    )
    for block in mixture.blocks():
        block["delta"].data *= 3
        block["psi"].data += torch.randn(block["psi"].shape, generator=generator)
    return mixture


def drawn(mixture: Mixture, k: int, *, n: int = N, seed: int = 0) -> torch.Tensor:
    """Latents of one class, as the mixture has it."""
    generator = torch.Generator().manual_seed(seed)
    m = torch.multinomial(
        mixture.psi[k].softmax(0), n, replacement=True, generator=generator
    )
    return (
        mixture.components()[k, m] + torch.randn(n, DIM, generator=generator)
    ).detach()


def orthogonal(seed: int) -> torch.Tensor:
    return torch.linalg.qr(
        torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(seed))
    ).Q


def likelihood(mixture: Mixture, z: torch.Tensor, k: int) -> float:
    return mixture.log_prob(z, torch.tensor([k])).mean().item()


@pytest.mark.parametrize("family", FAMILIES)
def test_other_classes_keep_their_bits(mixture, family):
    z = drawn(mixture, 1)
    probe = torch.randn(20, DIM)
    fitted = refit(mixture, z, torch.tensor([1]), family=family)
    torch.testing.assert_close(
        fitted.log_prob_each(probe)[:, [0, 2]], mixture.log_prob_each(probe)[:, [0, 2]]
    )
    assert torch.equal(fitted.mu[[0, 2]], mixture.mu[[0, 2]]) and torch.equal(
        fitted.phi, mixture.phi
    )
    assert not torch.equal(
        fitted.log_prob_each(probe)[:, 1], mixture.log_prob_each(probe)[:, 1]
    )
    assert [len(block["mu"]) for block in fitted.blocks()] == [2, 1]


def test_means_moves_the_class_as_it_is(mixture):
    z = drawn(mixture, 0) + 5
    fitted = refit(mixture, z, torch.tensor([0]), family="means")
    torch.testing.assert_close(fitted.mu[0], z.mean(0))
    torch.testing.assert_close(fitted.delta, mixture.delta)
    assert fitted.frames is None


def test_likelihood_never_falls_along_the_nested_families(mixture):
    stretch = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(3))
    z = drawn(mixture, 0) @ stretch + 3
    y = torch.tensor([0])
    values = {
        name: likelihood(refit(mixture, z, y, family=name, **EXACT), z, 0)
        for name in FAMILIES
    }
    nested = [values[name] for name in ("means", "offsets", "diagonal", "full")]
    assert nested == sorted(nested) and nested[-1] > nested[0] + 1
    assert values["affine"] > values["means"]


@pytest.mark.parametrize("family", ["offsets", "diagonal", "full", "affine"])
def test_every_iteration_gains(mixture, family):
    z = drawn(mixture, 2) @ torch.randn(
        DIM, DIM, generator=torch.Generator().manual_seed(4)
    )
    values = [
        likelihood(
            refit(
                mixture, z, torch.tensor([2]), family=family, n_iterations=n, **EXACT
            ),
            z,
            2,
        )
        for n in (1, 3, 9)
    ]
    assert values[0] <= values[1] + 1e-9 and values[1] <= values[2] + 1e-9


def test_a_lone_component_becomes_the_gaussian_of_its_latents():
    mixture = Mixture(DIM, n_components=1).expand(2)
    z = torch.randn(200, DIM) @ torch.randn(DIM, DIM) + 2
    gaussian = torch.distributions.MultivariateNormal(
        z.mean(0), torch.cov(z.T, correction=0)
    )
    for family in ("full", "affine"):
        fitted = refit(mixture, z, torch.tensor([1]), family=family, **EXACT)
        torch.testing.assert_close(
            fitted.log_prob(z, torch.tensor([1])), gaussian.log_prob(z)
        )
        torch.testing.assert_close(fitted.mu, mixture.mu, rtol=1e-12, atol=1e-12)


def test_an_affine_map_of_a_class_is_undone(mixture):
    turn = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(5))
    weight = torch.matrix_exp(0.2 * (turn - turn.T)) * torch.linspace(0.5, 2, DIM)
    bias = torch.randn(DIM)
    z = drawn(mixture, 0)
    moved = refit(
        mixture,
        z @ weight.T + bias,
        torch.tensor([0]),
        family="affine",
        n_iterations=100,
        **EXACT,
    )
    volume = torch.linalg.slogdet(weight).logabsdet
    fresh = drawn(mixture, 0, seed=9)
    y = torch.tensor([0])
    expected = mixture.log_prob(fresh, y)
    found = moved.log_prob(fresh @ weight.T + bias, y) + volume
    assert (found - expected).abs().mean() < 0.15
    means = (
        refit(mixture, z @ weight.T + bias, y, family="means").log_prob(
            fresh @ weight.T + bias, y
        )
        + volume
    )
    assert (means - expected).abs().mean() > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_that_is_where_it_was_stays_there(mixture, family):
    centered = mixture.delta.detach() - mixture.delta.detach().mean(1, keepdim=True)
    mixture = mixture.replace(
        delta=centered, psi=torch.zeros(K, M)
    )  # the mean of a class is now its main center
    z = drawn(mixture, 1, n=20000)
    y = torch.tensor([1])
    assert likelihood(refit(mixture, z, y, family=family), z, 1) == pytest.approx(
        likelihood(mixture, z, 1), abs=0.02
    )


def test_a_frame_that_is_there_is_composed_with(mixture):
    weight = torch.stack([orthogonal(k) * 2 for k in range(K)])
    framed = mixture.framed(weight, torch.randn(K, DIM))
    z = torch.randn(500, DIM)
    y = torch.tensor([0])
    for family in FAMILIES:
        values = [
            likelihood(refit(start, z, y, family=family, **EXACT), z, 0)
            for start in (framed, mixture)
        ]
        assert values[0] > likelihood(framed, z, 0) - 1e-9, family
        assert likelihood(
            refit(framed, z, torch.tensor([0]), family=family), z, 1
        ) == likelihood(framed, z, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_three_latents_are_enough(mixture, family):
    fitted = refit(mixture, torch.randn(3, DIM), torch.tensor([0]), family=family)
    assert fitted.log_prob_each(torch.randn(5, DIM)).isfinite().all()


def test_a_class_per_image_is_a_class_per_latent(mixture):
    z = torch.randn(12, DIM)
    y = torch.tensor([2, 0, 2])
    one, other = (refit(mixture, z, ids) for ids in (y, y.repeat_interleave(4)))
    assert torch.equal(one.log_prob_each(z), other.log_prob_each(z))


def test_wrong_input_is_named(mixture):
    with pytest.raises(
        KeyError,
        match="Unknown family 'tied'; known: means, offsets, diagonal, full, affine",
    ):
        refit(mixture, torch.randn(4, DIM), torch.tensor([0]), family="tied")
    with pytest.raises(
        ValueError, match=r"latents \(N, 6\), N a multiple of 3; got \(4, 6\)"
    ):
        refit(mixture, torch.randn(4, DIM), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_learned_covariance_is_refitted_as_a_frame_that_is_there(mixture, family):
    """A learned frame moves with its center; what is fitted stays where it was."""
    generator = torch.Generator().manual_seed(0)
    z = 1.5 * torch.randn(200, mixture.dim, generator=generator)
    y = torch.zeros(len(z), dtype=torch.long)
    learned = mixture.with_covariance("full")
    with torch.no_grad():
        for parameter in learned.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise)
    fixed = learned.framed(*learned.frames)
    ours, theirs = (refit(m, z + 3, y, family=family) for m in (learned, fixed))
    torch.testing.assert_close(
        ours.log_prob(z, y), theirs.log_prob(z, y), rtol=1e-3, atol=1e-2
    )
    before = learned.log_prob(z + 3, y).mean()
    assert ours.log_prob(z + 3, y).mean() >= before - 1e-4
