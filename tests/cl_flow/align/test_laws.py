"""Class laws: what is drawn has the law of what was seen, cell by cell."""

import math

import pytest
import torch

from cl_flow import Run
from cl_flow.align.law_fits import (
    EM_PATCHES,
    POSITIONS,
    LawOptions,
    feature_laws,
    fitted_law,
    latent_laws,
    pool_laws,
    tiles,
)
from cl_flow.align.laws import TRUNCATION, ClassLaws, PatchLaw
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowConfig, FlowModel

DIM = 3
GRID = (4, 6)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images(tiny, tmp_path_factory) -> Features:
    """Normal training images of two categories."""
    features = Run.at(tiny, folder=tmp_path_factory.mktemp("laws")).features
    return features.where(split="train", label=0, category=["ant", "cat"])


def patches(n_images: int = 200, *, of_cell: float = 2.0) -> list:
    """Patches whose mean and spread depend on the cell, and their cells."""
    n_cells = math.prod(GRID)
    at = torch.linspace(-1, 1, n_cells)[:, None]
    field = of_cell * at * torch.tensor([1.0, -2.0, 0.5])
    noise = torch.randn(n_images, n_cells, DIM, generator=generator())
    x = field + (1 + 0.5 * of_cell * at.abs()) * noise
    return [(x.flatten(0, 1), torch.arange(n_cells).repeat(n_images))]


def law(position: str, components: int = 1, *, parts: list | None = None) -> PatchLaw:
    parts = patches() if parts is None else parts
    options = LawOptions(components, position)
    n = sum(len(x) for x, _ in parts)
    places = tiles(GRID, options.places)
    return fitted_law(parts, n, places, options, generator=generator())


each_position = pytest.mark.parametrize("position", POSITIONS)


# ---- draws


@each_position
@pytest.mark.parametrize("components", [1, 4])
def test_draws_have_the_moments_of_the_patches(position, components):
    x, _ = patches()[0]
    draws, cells = law(position, components).sample(30_000, generator=generator(1))
    torch.testing.assert_close(draws.mean(0), x.mean(0), atol=0.06, rtol=0.05)
    # Truncation takes a few percent.
    torch.testing.assert_close(draws.var(0), x.var(0), atol=0, rtol=0.15)
    assert cells.bincount().min() > 0.8 * 30_000 / math.prod(GRID)


@each_position
def test_only_a_law_that_knows_places_draws_each_cell_as_it_is(position):
    x, at = patches()[0]
    draws, cells = law(position, 4).sample(60_000, generator=generator(1))
    gap = [
        (draws[cells == c].mean(0) - x[at == c].mean(0)).norm()
        for c in (0, math.prod(GRID) - 1)
    ]
    if position in ("means", "full"):
        assert max(gap) < 0.3
    elif position == "pooled":
        assert min(gap) > 1.5
    else:  # in between: it has four places to go to
        assert max(gap) < 1.5


def test_places_raise_the_likelihood_where_they_matter_and_not_where_they_do_not():
    def likelihood(position: str, of_cell: float) -> float:
        own = patches(100, of_cell=of_cell)
        held = patches(40, of_cell=of_cell)[0]
        return law(position, 2, parts=own).log_prob(*held).mean().item()

    assert likelihood("full", 2.0) > likelihood("means", 2.0) - 0.05
    assert likelihood("means", 2.0) > likelihood("pooled", 2.0) + 0.5
    assert abs(likelihood("full", 0.0) - likelihood("pooled", 0.0)) < 0.1


def test_no_coordinate_of_a_component_is_drawn_beyond_the_truncation():
    stats = GaussianStats.of(torch.randn(500, DIM, generator=generator()))
    draws, _ = PatchLaw.of_gaussian(stats).sample(20_000, generator=generator(1))
    root = torch.linalg.cholesky(stats.covariance())[0]
    white = torch.linalg.solve_triangular(root, (draws - stats.mean).T, upper=False)
    assert white.abs().max() < TRUNCATION * 1.01


@each_position
def test_the_density_integrates_to_one(position):
    own = law(position, 3)
    x = torch.rand(200_000, DIM, generator=generator()) * 40 - 20
    cells = torch.full((len(x),), 5)
    volume = own.log_prob(x, cells).double().exp().mean() * 40**DIM
    assert volume.item() == pytest.approx(1.0, abs=0.1)


def test_a_plain_gaussian_has_its_own_density_wherever_it_lies():
    x = torch.randn(300, DIM, generator=generator())
    stats = GaussianStats.of(x)
    got = PatchLaw.of_gaussian(stats, 9).log_prob(x, torch.arange(300) % 9)
    torch.testing.assert_close(got, stats.log_prob(x, shrinkage=1e-3)[:, 0])


# ---- fitting


def test_batches_may_be_cut_anywhere():
    (x, cells) = patches()[0]
    whole = law("full", 3)
    cut = law("full", 3, parts=[(x[:1000], cells[:1000]), (x[1000:], cells[1000:])])
    for name, values in whole.tensors().items():
        torch.testing.assert_close(values, cut.tensors()[name])


def test_a_class_of_few_patches_has_a_law_and_one_of_none_is_refused():
    x, cells = patches(1)[0]
    few = law("full", 4, parts=[(x, cells)])
    draws, _ = few.sample(500, generator=generator())
    assert draws.isfinite().all() and (few.scale > 0).all()
    with pytest.raises(ValueError, match="Expected patches to fit a law to; got none"):
        law("full", parts=[])


def test_a_channel_that_never_changes_is_drawn_as_it_is():
    x, cells = patches(20)[0]
    x = x.clone()
    x[:, 1] = 7.0
    draws, _ = law("full", 2, parts=[(x, cells)]).sample(200, generator=generator())
    torch.testing.assert_close(draws[:, 1], torch.full((200,), 7.0), atol=0.5, rtol=0)


@pytest.mark.parametrize("grid", [(4, 6), (16, 16), (7, 5), (1, 9)])
@pytest.mark.parametrize("places", [1, 4, 24, 1000])
def test_tiles_cover_the_grid_with_no_more_places_than_allowed(grid, places):
    tiled = tiles(grid, places)
    assert len(tiled) == math.prod(grid)
    used = tiled.unique()
    assert len(used) <= min(places, math.prod(grid)) and used[-1] == len(used) - 1
    if places >= math.prod(grid):
        assert tiled.tolist() == list(range(math.prod(grid)))


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"components": 0}, ValueError),
        ({"places": 0}, ValueError),
        ({"position": "ful"}, KeyError),
    ],
)
def test_wrong_options_are_refused(wrong, error):
    with pytest.raises(error, match="(Expected|Unknown)"):
        LawOptions(**wrong)


# ---- keeping


@each_position
def test_a_law_comes_back_from_what_is_kept_of_it(position):
    own = law(position, 3)
    kept = own.tensors()
    back = PatchLaw.stored(kept, CPU)
    x, cells = patches(10)[0]
    before, after = own.log_prob(x, cells), back.log_prob(x, cells)
    torch.testing.assert_close(before, after, atol=0.05, rtol=0.02)
    assert own.nbytes == sum(values.nbytes for values in kept.values())


def test_a_position_costs_the_bytes_of_its_fields():
    n_cells = math.prod(GRID)
    extra = law("means").nbytes - law("pooled").nbytes
    assert extra == 2 * 2 * DIM * (n_cells - 1)
    extra = law("weights", 4).nbytes - law("pooled", 4).nbytes
    assert extra == 2 * 4 * (n_cells - 1)


def test_laws_of_classes_are_kept_one_after_the_other(images):
    options = LawOptions(2, "full")
    arguments = {"device": CPU, "generator": generator()}
    parts = [
        feature_laws(images, [name], options, **arguments) for name in ("ant", "cat")
    ]
    both = parts[0].followed_by(parts[1])
    back = ClassLaws.stored(both.tensors() | {"other": torch.ones(1)}, CPU)
    assert len(back) == 2 and back.nbytes == both.nbytes
    pool = back.pool(50, generator=generator())
    alone = ClassLaws.stored(parts[1].tensors(), CPU)
    for i, law_of_two in back.level(1).items():
        expected = ClassLaws.stored(parts[i].tensors(), CPU).level(1)[0]
        assert torch.equal(law_of_two.mean, expected.mean)
    assert pool.n_classes == 2 and len(alone) == 1
    assert [len(x) for x in pool.x] == [100] * len(pool.x)


def test_nothing_kept_is_no_law_and_what_an_earlier_version_kept_is_refused():
    assert ClassLaws.stored({}, CPU) is None
    with pytest.raises(ValueError, match="got those of an earlier one"):
        ClassLaws.stored({"scatter0": torch.ones(1)}, CPU)


# ---- of latents


@pytest.fixture
def model(images) -> FlowModel:
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    return FlowModel(images.dims, images.grids, config).expand_(["ant", "cat"])


def test_latents_of_images_and_of_their_pooled_patches_have_one_law(images, model):
    options = LawOptions(1, "full")
    ours = latent_laws(model, images, ["ant", "cat"], options, generator=generator())
    pool = PatchPool.of(images, ["ant", "cat"], generator())
    pool = PatchPool(
        [x.float() for x in pool.x], [c.long() for c in pool.cells], pool.counts
    )
    again = pool_laws(model, pool, options, generator=generator())
    for a, b in zip(ours.classes, again.classes):
        for one, other in zip(a, b):
            torch.testing.assert_close(one.mean, other.mean, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(one.scale, other.scale, atol=1e-4, rtol=1e-4)


def test_em_reads_no_more_than_its_share_of_a_large_class():
    n = 3 * EM_PATCHES
    x = torch.randn(n, DIM, generator=generator())
    own = fitted_law(
        [(x, torch.zeros(n, dtype=torch.long))],
        n,
        torch.zeros(1, dtype=torch.long),
        LawOptions(2),
        generator=generator(),
    )
    assert own.parts.n.sum().item() == pytest.approx(EM_PATCHES, rel=0.01)
    torch.testing.assert_close(own.mean[0], x.mean(0), atol=1e-5, rtol=1e-4)
