"""Realigning within the continual loop: what is moved, what is kept, and that nothing
else changes.
"""

import pytest
import torch

from cl_flow import Run, RunConfig, fit
from cl_flow.align import ALIGNERS, KEPT, ClassLaws, GaussianStats
from cl_flow.align.affine import centers
from cl_flow.align.evidence import carried, gathered, stitched, with_latents
from cl_flow.align.law_fits import LawOptions, latent_laws
from cl_flow.align.statistics.joining import joined
from cl_flow.model.mixture import Mixture
from cl_flow.strategies.realign import Realign

NAMES = [name for name in ALIGNERS if name != "refit"]


def trained(tiny: RunConfig, folder: object, **options: object) -> Run:
    config = tiny.replace(
        strategy="realign", centers="freeze_old", options={"n_draws": 200, **options}
    )
    return fit(config, folder=folder, progress=False)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Run:
    return trained(tiny, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", NAMES)
def test_every_aligner_goes_through_the_loop_and_leaves_the_flow_as_finetuning_does(
    name, tiny, tmp_path, run
):
    one = trained(tiny, tmp_path, aligner=name)
    plain = fit(tiny.replace(centers="freeze_old"), folder=tmp_path, progress=False)
    for level, other in zip(one[1].model().levels, plain[1].model().levels):
        assert all(
            torch.equal(a, b)
            for a, b in zip(level.flow.parameters(), other.flow.parameters())
        )
        assert torch.equal(centers(level.mixture)[3:], centers(other.mixture)[3:])
        stays = torch.equal(centers(level.mixture)[:3], centers(other.mixture)[:3])
        assert stays == (name == "identity")
    kept = sum(values.nbytes for values in one[1].memory().values())
    assert (kept > 0) == (name in KEPT)


def latent_moments(model, images, categories, i) -> GaussianStats:
    """Moments of each category's latents at level i."""
    level = model.levels[i]
    parts = []
    for name in categories:
        x = images.where(category=name).read()[i].flatten(0, 1).float()
        parts.append(GaussianStats.of(level(x)[0].detach()))
    return joined(*parts)


def test_a_pushed_class_lies_where_its_latents_lie(run, tiny):
    model, training = run[1].model(), run.features.where(split="train", label=0)
    for i, level in enumerate(model.levels):
        stats = latent_moments(model, training, run[0].categories, i)
        aligned = centers(level.mixture)[:3]
        stale = (
            run[0].model().levels[0].mixture.mu if level is model.levels[0] else None
        )
        spread = stats.covariance().diagonal(dim1=1, dim2=2).sum(1).sqrt()
        assert ((aligned - stats.mean).norm(dim=1) < 0.35 * spread).all()
        if stale is not None:
            assert (
                (stale - stats.mean).norm(dim=1) > (aligned - stats.mean).norm(dim=1)
            ).all()


def test_within_a_task_the_optimizer_keeps_its_centers(tiny, tmp_path):
    often, once = (
        trained(tiny, tmp_path, every=every, head="means") for every in (1, None)
    )
    flows = [
        [p for level in r[1].model().levels for p in level.flow.parameters()]
        for r in (often, once)
    ]
    assert not all(
        torch.equal(a, b) for a, b in zip(*flows)
    )  # the losses met other centers
    placed = once[0].model().expand_(3).levels[0].mixture.mu[3:]
    for one in (
        often,
        once,
    ):  # the new centers left where they were put: they were learnt
        assert (one[1].model().levels[0].mixture.mu[3:] - placed).abs().max() > 1e-4


def test_transport_from_a_flow_to_itself_leaves_the_latents_where_they_were(run):
    model, first = (
        run[0].model(),
        run.features.where(split="train", label=0, category=list(run[0].categories)),
    )
    generator = torch.Generator().manual_seed(0)
    laws = latent_laws(
        model, first, run[0].categories, LawOptions(), generator=generator
    )
    evidence = with_latents(gathered(model, model, first, n_draws=4000), laws)
    for old, new in zip(laws.classes, carried(evidence).classes):
        for before, after in zip(old, new):
            root = before.scale.square().sum().sqrt()
            assert (after.mean - before.mean).norm() < 0.1 * root
    for known in evidence:
        assert torch.equal(*known.drift)
        z = torch.randn(20, known.drift[0].shape[1])
        cells = torch.arange(20) % known.latents[0].n_cells
        torch.testing.assert_close(
            known.flow(known.inverse(z, cells), cells), z, atol=1e-4, rtol=1e-4
        )


def test_stitching_keeps_the_old_rows_of_the_one_and_the_new_rows_of_the_other():
    generator = torch.Generator().manual_seed(0)
    old = Mixture(8, n_components=3).expand(2, generator=generator)
    new = old.expand(3, generator=generator).replace(mu=torch.randn(5, 8))
    for before in (old, old.framed(2 * torch.eye(8).repeat(2, 1, 1), torch.ones(2, 8))):
        out = stitched(before, new)
        assert torch.equal(out.mu[:2], old.mu) and torch.equal(out.mu[2:], new.mu[2:])
        z = torch.randn(10, 8)
        torch.testing.assert_close(out.log_prob_each(z)[:, :2], before.log_prob_each(z))
        torch.testing.assert_close(
            out.log_prob_each(z)[:, 2:], new.log_prob_each(z)[:, 2:]
        )


def test_taking_keeps_the_parameters_and_their_values_follow():
    mixture = Mixture(4, n_components=2).expand(2)
    before = list(mixture.parameters())
    other = mixture.replace(mu=torch.randn(2, 4)).framed(
        2 * torch.eye(4).repeat(2, 1, 1), torch.zeros(2, 4)
    )
    mixture.take_(other)
    assert all(a is b for a, b in zip(mixture.parameters(), before))
    z = torch.randn(5, 4)
    assert torch.equal(mixture.log_prob_each(z), other.log_prob_each(z))
    assert mixture.take_(mixture.replace()).frames is not None


def test_a_resumed_run_has_what_it_kept(run):
    laws = Realign(n_draws=200)
    laws.memory = run[0].memory()
    kept = laws._kept(run[0].model())
    assert len(kept) == 3 and isinstance(kept, ClassLaws)


@pytest.mark.parametrize(
    "options", [{"aligner": "refit"}, {"head": "round"}, {"every": 0}]
)
def test_wrong_options_are_named(options):
    with pytest.raises(
        ValueError, match="needs no image, a head of means, full and every ≥ 1; got"
    ):
        Realign(**options)
    with pytest.raises(KeyError, match="Unknown aligner 'none'"):
        Realign(aligner="none")
