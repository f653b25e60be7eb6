"""Draws of old classes: from where their mixture lies, and back through the flow."""

import math

import pytest
import torch

from cl_flow.align.draws import inverted_patches, mixture_draws, mixture_pool
from cl_flow.align.laws import TRUNCATION
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.model.mixture import Mixture


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mixture() -> Mixture:
    mixture = Mixture(6, n_components=3)
    return mixture.expand(4, init="orthogonal", generator=generator())


@pytest.fixture
def model() -> FlowModel:
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    return FlowModel([6, 8], [(4, 4), (2, 2)], config).expand_(["a", "b"])


def test_draws_lie_within_the_truncation_of_a_component_of_their_class(mixture):
    draws = mixture_draws(mixture, [3, 1], 200, generator=generator())
    assert draws.shape == (2, 200, 6)
    for k, z in zip([3, 1], draws):
        centers = mixture.components()[k]
        reach = (z[:, None] - centers).abs().amax(2)
        assert (reach.amin(1) <= TRUNCATION + 1e-5).all()


def test_without_truncation_draws_have_unit_variance(mixture):
    mixture = mixture.replace(delta=torch.zeros_like(mixture.delta))
    options = {"generator": generator(), "truncation": math.inf}
    draws = mixture_draws(mixture, [0], 20_000, **options)
    expected = torch.ones(6)
    torch.testing.assert_close(draws[0].var(0), expected, atol=0.05, rtol=0)


def pooled(n: int, value: float | None = None) -> PatchPool:
    """Latents of two classes at two levels, at cells of the model's grids."""
    x = [torch.randn(2 * n, dim, generator=generator()) for dim in (6, 8)]
    if value is not None:
        x = [torch.full_like(level, value) for level in x]
    cells = [torch.arange(2 * n) % n_cells for n_cells in (16, 4)]
    return PatchPool(x, cells, [torch.tensor([n, n])] * 2)


def test_inverted_patches_are_those_of_their_latents_at_their_cells(model):
    latents = pooled(30)
    pool, facts = inverted_patches(model, latents)
    for level, z, x, cells in zip(model.levels, latents.x, pool.x, pool.cells):
        again, _ = level(x, cells)
        torch.testing.assert_close(again, z, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(pool.cells, latents.cells))
    assert [counts.tolist() for counts in pool.counts] == [[30, 30], [30, 30]]
    assert facts["finite_share"].tolist() == [1.0, 1.0]
    assert facts["inversion_error"].max() < 1e-4


def test_a_latent_that_is_not_finite_is_left_out_and_a_whole_class_is_an_error(model):
    latents = pooled(5, 0.0)
    latents.x[0][5] = math.nan
    pool, facts = inverted_patches(model, latents)
    assert pool.counts[0].tolist() == [5, 4]
    assert facts["finite_share"][0].item() == pytest.approx(0.9)
    latents.x[0][5:] = math.nan
    with pytest.raises(FloatingPointError, match="got none of one"):
        inverted_patches(model, latents)


def test_a_pool_of_the_mixture_covers_the_grid_of_every_level(model):
    pool = mixture_pool(model, [0, 1], 40, generator=generator())
    for level, x, cells in zip(model.levels, pool.x, pool.cells):
        assert x.shape == (80, level.dim)
        assert set(cells.tolist()) == set(range(len(level.codes)))


def test_a_class_with_a_frame_is_drawn_as_it_lies_in_the_latents():
    mixture = Mixture(3, n_components=1).expand(2, init="orthogonal")
    weight = torch.eye(3).repeat(2, 1, 1)
    weight[1, 0, 0] = 0.5
    bias = torch.zeros(2, 3)
    bias[1] = torch.tensor([0.0, 4.0, 0.0])
    framed = mixture.framed(weight, bias)
    generator = torch.Generator().manual_seed(0)
    plain, other = mixture_draws(framed, [0, 1], 4000, generator=generator)
    scale = other.std(0) / plain.std(0)
    torch.testing.assert_close(scale, torch.tensor([2.0, 1, 1]), rtol=0.05, atol=0)
    center = torch.linalg.solve(weight[1], mixture.mu[1] - bias[1])
    torch.testing.assert_close(other.mean(0), center, rtol=0, atol=0.1)
