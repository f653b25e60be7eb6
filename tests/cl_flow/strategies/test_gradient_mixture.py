"""Mixtures learned by gradient: what is learned when, kept, and held to one density."""

import dataclasses

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from cl_flow import Run, RunConfig, fit, make_stream
from cl_flow.model.covariances import COVARIANCES
from cl_flow.model.flow import FlowModel
from cl_flow.runs.continual import learn
from cl_flow.strategies.feature_gaussian import FeatureGaussian
from cl_flow.strategies.gradient_mixture import GradientMixture

each_kind = pytest.mark.parametrize("kind", COVARIANCES)


def trained(tiny: RunConfig, folder: object, **options: object) -> Run:
    config = tiny.replace(strategy="gradient_mixture", options=options)
    return fit(config, folder=folder, progress=False)


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        kind: trained(tiny, folder, covariance=kind, rank=2) for kind in COVARIANCES
    }


@each_kind
def test_covariances_of_old_classes_learn_on_from_their_laws(runs, kind):
    first, last = runs[kind][0].model(), runs[kind][1].model()
    for before, after in zip(first.levels, last.levels):
        eye = torch.eye(before.dim)
        assert before.mixture.covariance == after.mixture.covariance == (kind, 2)
        was, now = before.mixture.frames.weight, after.mixture.frames.weight
        for change in (was - eye, now[3:] - eye, now[:3] - was):
            assert (change.abs().amax((1, 2)) > 1e-4).all()


@each_kind
def test_frozen_centers_are_frozen_with_their_covariances(tiny, tmp_path, kind):
    run = trained(tiny.replace(centers="freeze_old"), tmp_path, covariance=kind, rank=2)
    for before, after in zip(run[0].model().levels, run[1].model().levels):
        old = before.mixture
        assert torch.equal(after.mixture.mu[:3], old.mu)
        assert torch.equal(after.mixture.frames.weight[:3], old.frames.weight)


@each_kind
def test_a_score_has_the_density_of_gaussians_with_what_was_learned(runs, kind):
    model = runs[kind][1].model().double()
    given = torch.tensor([1])
    for level in model.levels:
        mixture = level.mixture
        z = 3 * torch.randn(20, level.dim, dtype=torch.float64)
        weight = mixture.frames.weight[1]
        means = mixture.mu[1] + (mixture.components()[1] - mixture.mu[1]) @ (
            torch.linalg.inv(weight).T
        )
        expected = MixtureSameFamily(
            Categorical(logits=mixture.psi[1]),
            MultivariateNormal(means, precision_matrix=weight.T @ weight),
        )
        torch.testing.assert_close(mixture.log_prob(z, given), expected.log_prob(z))


def test_with_neither_it_is_rehearsal_by_laws_to_the_bit(tiny, tmp_path):
    plain = fit(
        tiny.replace(strategy="feature_gaussian"), folder=tmp_path, progress=False
    )
    run = trained(tiny, tmp_path, covariance="unit")
    for a, b in zip(run, plain):
        ours, theirs = a.model().state_dict(), b.model().state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["unit", "full"])
def test_the_objective_anneals_in_every_task_and_leaves_nothing(tiny, tmp_path, kind):
    stream = make_stream(Run.at(tiny, folder=tmp_path).features, tiny.stream)
    features = stream[0].features
    model = FlowModel(features.dims, features.grids, tiny.flow)
    strategy = GradientMixture(objective="annealed_max", covariance=kind, anneal=3)
    seen: list[torch.Tensor] = []

    def look(step: int, model: FlowModel) -> None:
        seen.append(model.levels[0].mixture.neighbours)

    for task in stream:
        seen.clear()
        model, _ = learn(model, strategy, task, tiny, watch=look)
        sharpest = [g.diagonal().min().item() for g in seen]
        assert sharpest == sorted(sharpest) and sharpest[0] < 1
        assert all(torch.equal(g, torch.eye(3)) for g in seen[3:])
        strategy.consolidate(model, task)
        assert all(level.mixture.neighbours is None for level in model.levels)


def test_a_component_has_neighbours_when_the_loss_within_a_class_begins(tiny, tmp_path):
    train = dataclasses.replace(tiny.train, epochs=4, inter_only=0.5)
    config = tiny.replace(train=train)
    stream = make_stream(Run.at(config, folder=tmp_path).features, config.stream)
    features = stream[0].features
    model = FlowModel(features.dims, features.grids, config.flow)
    strategy = GradientMixture(objective="annealed_max", covariance="unit", anneal=3)
    seen: list[torch.Tensor] = []

    def look(step: int, model: FlowModel) -> None:
        seen.append(model.levels[0].mixture.neighbours.diagonal().min())

    learn(model, strategy, stream[0], config, watch=look)
    half = (len(seen) - 1) // 2
    assert all(width == seen[0] < 1 for width in seen[: half + 1])
    assert seen[half + 1] > seen[0] and seen[half + 3] == 1


def test_another_objective_is_another_training(tiny, tmp_path):
    hgads, other = (
        trained(tiny, tmp_path, covariance="unit", objective=name)
        for name in ("logsumexp", "annealed_max")
    )
    offsets = [run[1].model().levels[0].mixture.delta for run in (hgads, other)]
    assert not torch.equal(*offsets)


def test_its_strengths_rehearse_the_same_laws():
    for options in GradientMixture.GRID:
        assert FeatureGaussian.GRID[-1].items() <= options.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "round"}, "Unknown covariance 'round'; known: unit, diagonal"),
        ({"objective": "mean"}, "Unknown objective 'mean'; known: logsumexp"),
        ({"rank": 0}, "Expected rank ≥ 1 and anneal ≥ 1; got 0 and 500"),
        ({"anneal": 0}, "Expected rank ≥ 1 and anneal ≥ 1; got 4 and 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises((KeyError, ValueError), match=message):
        GradientMixture(**options)


def test_a_rank_beyond_the_latents_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="a rank from 1 to D = 12; got 13"):
        trained(tiny, tmp_path, covariance="low_rank", rank=13)
