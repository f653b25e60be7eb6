"""The metric of a mixture: what a move of latents does to the posterior and to the
likelihood.
"""

import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
)

from cl_flow import FlowModel, Run
from cl_flow.align import ClassLaws
from cl_flow.data.patches import Batch
from cl_flow.model.mixture import Mixture
from cl_flow.runs.continual import learn
from cl_flow.strategies.efc import EFC, posterior_metric
from cl_flow.strategies.shared.old_model import frozen


@pytest.fixture
def mixture(float64) -> Mixture:
    generator = torch.Generator().manual_seed(0)
    grown = Mixture(8, n_components=3).expand(4, generator=generator)
    return grown.replace(mu=torch.randn(4, 8, generator=generator))


# ---- the metric


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_it_sees_only_moves_between_centers(mixture, temperature):
    z = torch.randn(50, 8)
    metric = posterior_metric(mixture, z, temperature=temperature)
    apart = mixture.mu[1:] - mixture.mu[:1]
    _, _, basis = torch.linalg.svd(apart)
    assert (metric @ basis[3:].T).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(basis[:3] @ metric @ basis[:3].T).min() > 1e-3


def test_it_is_the_mean_covariance_of_the_centers_in_question(mixture):
    z = torch.randn(20, 8)
    each = []
    for weights in mixture.log_kernel(z).softmax(1):
        off = mixture.mu - weights @ mixture.mu
        each.append(off.T @ (weights[:, None] * off))
    torch.testing.assert_close(posterior_metric(mixture, z), torch.stack(each).mean(0))


def test_half_of_it_is_what_the_posterior_diverges_by(mixture):
    z = torch.randn(30, 8)
    move = 1e-3 * torch.randn(8)
    log_p, log_q = (mixture.log_kernel(at).log_softmax(1) for at in (z, z + move))
    divergence = (log_p.exp() * (log_p - log_q)).sum(1).mean()
    expected = 0.5 * move @ posterior_metric(mixture, z) @ move
    torch.testing.assert_close(divergence, expected, rtol=1e-2, atol=0.0)


def test_a_single_class_has_nothing_to_be_taken_for():
    z = torch.randn(5, 6)
    assert (posterior_metric(Mixture(6).expand(1), z) == 0).all()


# ---- the penalty


def begun(tiny, folder, **options) -> tuple[EFC, FlowModel, list]:
    """The strategy and its model at the first step of the second task."""
    stream = Run.at(tiny, folder=folder).stream()
    features = stream[0].features
    strategy = EFC(**options)
    model = FlowModel(features.dims, features.grids, tiny.flow)
    model, _ = learn(model, strategy, stream[0], tiny)
    strategy.consolidate(model, stream[0])
    return strategy, model, stream


def drawn(strategy: EFC, model: FlowModel, stream: list) -> Batch:
    """A batch of draws alone."""
    rehearsal = strategy.rehearse(strategy.grow(model, stream[1]), stream[1])
    batch = rehearsal.pool.draw(20, [8, 8], torch.Generator().manual_seed(0))
    return Batch(batch.x, batch.index, batch.y, own=0, taught=False)


def latents(model: FlowModel, batch: Batch) -> list:
    with torch.no_grad():
        return [
            level(x, cells)
            for level, x, cells in zip(model.levels, batch.x, batch.index)
        ]


def test_it_costs_the_change_of_log_likelihood_exactly(tiny, tmp_path):
    strategy, model, stream = begun(tiny, tmp_path, strength=1.0, damping=0.0)
    strategy.likelihood = 1.0
    batch = drawn(strategy, model, stream)
    strategy._metrics = [torch.zeros_like(metric) for metric in strategy._metrics]
    before = latents(model, batch)
    after = [(z + torch.randn_like(z), log_det + 1) for z, log_det in before]
    expected = 0.0
    for level, (z, d), (z_new, d_new) in zip(model.levels, before, after):
        y = batch.y.repeat_interleave(8)
        mixture = level.mixture
        components = Independent(Normal(mixture.components()[y].detach(), 1.0), 1)
        law = MixtureSameFamily(Categorical(logits=mixture.psi[y].detach()), components)
        change = law.log_prob(z_new) - law.log_prob(z) + d_new - d
        expected += (change / level.dim).square().mean().item()
    assert strategy.penalty(model, batch, after).item() == pytest.approx(expected)


def test_a_center_that_leaves_its_class_is_pulled_back(tiny, tmp_path):
    strategy, model, stream = begun(tiny, tmp_path)
    batch = drawn(strategy, model, stream)
    own = model.levels[0].mixture.blocks()[0]["mu"]
    with torch.no_grad():
        own.add_(0.5)
    strategy.penalty(model, batch, latents(model, batch)).backward()
    with torch.no_grad():
        lower = own - 1e-3 * own.grad / own.grad.norm()
        costs = []
        for value in (own.clone(), lower):
            own.copy_(value)
            cost = strategy.penalty(model, batch, latents(model, batch))
            costs.append(cost.item())
    assert 0 < costs[1] < costs[0]


def test_a_move_between_centers_costs_more_than_one_across(tiny, tmp_path):
    strategy, model, stream = begun(tiny, tmp_path, damping=0.01, likelihood=0.0)
    batch = drawn(strategy, model, stream)
    before = latents(model, batch)
    costs = []
    for along in (True, False):
        moved = []
        for level, (z, log_det) in zip(model.levels, before):
            mu = level.mixture.mu[:3].detach()
            _, _, basis = torch.linalg.svd(mu[1:] - mu[:1])
            move = basis[0] if along else basis[-1]
            moved.append((z + move, log_det))
        costs.append(strategy.penalty(model, batch, moved).item())
    across = strategy.strength * 0.01 * len(model.levels)
    assert costs[1] == pytest.approx(across, rel=1e-3)
    assert costs[0] > 2 * costs[1]


def test_it_keeps_the_likelihood_of_old_classes(tiny, tmp_path):
    changes = []
    for strength in (0.0, 1e4):
        strategy, model, stream = begun(tiny, tmp_path, strength=strength)
        old = frozen(model)
        model, _ = learn(model, strategy, stream[1], tiny)
        pool = ClassLaws.stored(strategy.memory, torch.device("cpu")).pool(
            100, generator=torch.Generator().manual_seed(1)
        )
        y = torch.arange(3)
        change = 0.0
        for i, (x, cells) in enumerate(zip(pool.x, pool.cells)):
            pairs = [one.levels[i](x, cells) for one in (old, model)]
            before, after = (
                one.levels[i].mixture.log_prob(z, y) + log_det
                for one, (z, log_det) in zip((old, model), pairs)
            )
            change += (after - before).square().mean().item()
        changes.append(change)
    assert 0 < changes[1] < 0.5 * changes[0]
