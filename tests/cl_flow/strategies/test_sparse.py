"""Laws of sparse training: as many weights all the time, nothing moves off the mask,
and what may not change keeps its bits.
"""

import dataclasses
import math
from itertools import product

import pytest
import torch
from torch import nn

from cl_flow import Run, fit
from cl_flow.model.class_views import used_weights, views
from cl_flow.runs.continual import learn
from cl_flow.strategies.packnet import weights
from cl_flow.strategies.shared.masks import densities, drawn, dropped, highest
from cl_flow.strategies.sparse import GROWTHS, OVERLAPS, Masked, Sparse
from tests.cl_flow.runs.test_fitting import cut_and_continued
from tests.cl_flow.strategies.test_strategies import after_first, batch_of, latents
from tests.cl_flow.strategies.test_strategies import stream as stream  # a fixture

ALL = list(product(OVERLAPS, GROWTHS))
EVERYTHING = {"biases": "shared", "distillation": 10.0, "orthogonal": 1.0}


def trained(tiny, tmp_path, **options) -> Run:
    """A run under strong decay, which moves whatever it may."""
    train = dataclasses.replace(tiny.train, epochs=4, weight_decay=0.1)
    config = tiny.replace(strategy="sparse", options=options, train=train)
    return fit(config.replace(centers="freeze_old"), folder=tmp_path, progress=False)


def matrices(model) -> dict[str, torch.Tensor]:
    return {name: getattr(module, key).detach() for name, module, key in weights(model)}


# ---- masks


def test_small_matrices_are_denser_and_the_whole_is_as_dense_as_asked():
    shapes = [(300, 100), (10, 20), (100, 100)]
    shares = densities(shapes, 0.1)
    sizes = [n * m for n, m in shapes]
    assert shares[1] > shares[2] > shares[0]
    assert shares[2] / shares[0] == pytest.approx(0.02 / (400 / 30_000))
    assert sum(s * n for s, n in zip(shares, sizes)) == pytest.approx(0.1 * sum(sizes))


@pytest.mark.parametrize("most", [0.3, 1.0])
@pytest.mark.parametrize("density", [0.05, 0.29, 0.3])
def test_no_matrix_is_denser_than_the_bound(density, most):
    shapes = [(300, 100), (2, 3), (4, 4)]
    shares = densities(shapes, density, most=most)
    sizes = [n * m for n, m in shapes]
    assert all(0 < share <= most + 1e-12 for share in shares)
    assert sum(s * n for s, n in zip(shares, sizes)) == pytest.approx(
        density * sum(sizes)
    )


def test_what_is_dropped_is_nearest_to_zero():
    weight = torch.tensor([[-0.1, 0.5, 0.2], [-3.0, 0.01, -0.4]])
    active = torch.tensor([[True, True, True], [True, False, True]])
    lost = dropped(weight, active, 0.4)
    assert lost.nonzero().tolist() == [[0, 0], [0, 2]]
    lost = dropped(weight, active, 0.5, by_sign=True)
    assert lost.nonzero().tolist() == [[0, 0], [0, 2]]
    lost = dropped(weight, active, 0.7, by_sign=True)
    assert lost.nonzero().tolist() == [[0, 0], [0, 2], [1, 2]]
    assert not dropped(weight, active, 0.0).any()


def test_the_highest_are_looked_for_in_the_mask_alone():
    score, among = (
        torch.arange(6.0),
        torch.tensor([True, True, True, False, True, False]),
    )
    assert highest(score, among, 2).nonzero().flatten().tolist() == [2, 4]
    some = drawn(among, 3, torch.Generator().manual_seed(0))
    assert some.sum() == 3 and not (some & ~among).any()


# ---- a task


@pytest.mark.parametrize("biases", ["own", "shared"])
@pytest.mark.parametrize(("overlap", "growth"), ALL)
def test_every_rule_trains_keeps_and_continues(
    tiny, tmp_path, monkeypatch, overlap, growth, biases
):
    options = {"overlap": overlap, "growth": growth, "biases": biases}
    options |= {} if biases == "own" else EVERYTHING
    config = tiny.replace(strategy="sparse", options=options)
    whole = fit(config, folder=tmp_path / "whole", progress=False)
    cut_and_continued(whole, len(whole) - 1, tmp_path, monkeypatch)


@pytest.mark.parametrize(("overlap", "growth"), ALL)
def test_a_mask_keeps_its_size_while_it_changes(tiny, stream, overlap, growth):
    strategy = Sparse(density=0.3, overlap=overlap, growth=growth)
    strategy, model = after_first(strategy, tiny, stream)
    first = used_weights(model, 0)
    seen = []

    def watch(step, model) -> None:
        seen.append([part.active.clone() for _, part in strategy._parts])

    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=4))
    learn(model, strategy, stream[1], config, watch=watch)
    sizes = {tuple(int(mask.sum()) for mask in masks) for masks in seen}
    assert len(sizes) == 1 and sum(sizes.pop()) > 0
    changed = [
        any(not torch.equal(a, b) for a, b in zip(before, after))
        for before, after in zip(seen, seen[1:])
    ]
    n_steps = len(changed)
    assert any(changed) and not any(changed[math.ceil(0.75 * n_steps) :])
    for (name, *_), last, begun in zip(weights(model), seen[-1], seen[0]):
        shared = last & first[name]
        if overlap == "disjoint":
            assert not shared.any()
        if overlap == "frozen":
            assert not (shared & ~begun).any(), "it grows among what nobody has"


def test_growth_takes_the_largest_gradients_and_begins_anew(tiny, stream):
    strategy, model = after_first(Sparse(density=0.3), tiny, stream)
    model = strategy.grow(model, stream[1])
    strategy.prepare(model, stream[1], {})
    batch = batch_of(model, stream[1])
    sum(z.square().sum() for z, _ in latents(model, batch)).backward()
    weight, part = strategy._parts[0]
    grad, active = weight.grad.clone(), part.active.clone()
    assert (grad[~active] != 0).any(), "the gradient is that of all weights"
    before = part.before.clone()
    fresh = strategy._change_(0.5)[weight]
    kept = active & part.active & ~fresh
    out = ~part.active & ~active
    assert fresh.any() and not (fresh & active).any()
    assert grad[fresh].abs().min() >= grad[out].abs().max()
    expected = torch.where(part.owned, before, 0.0)
    assert torch.equal(part(weight)[fresh], expected[fresh])
    assert torch.equal(part(weight)[kept], before[kept])
    assert torch.equal(part.left(weight)[~part.active], before[~part.active])


def test_moments_begin_at_zero_where_weights_grow(tiny, stream, monkeypatch):
    from cl_flow.model.kernels.adam import FusedAdam

    strategy, model = after_first(Sparse(density=0.3), tiny, stream)
    told, restart = [], FusedAdam.restart

    def spied(optimizer, where) -> None:
        restart(optimizer, where)
        for bundle in optimizer._bundles:
            for parameter, mean in zip(bundle.parameters, bundle.means):
                if parameter in where:
                    told.append((mean[where[parameter]], mean[~where[parameter]]))

    monkeypatch.setattr(FusedAdam, "restart", spied)
    learn(model, strategy, stream[1], tiny)
    assert sum(len(fresh) for fresh, _ in told) > 0
    assert all((fresh == 0).all() for fresh, _ in told)
    assert any((others != 0).any() for _, others in told)


@pytest.mark.parametrize(("overlap", "growth"), ALL)
def test_nothing_moves_off_the_mask_and_nothing_that_is_held(
    tiny, tmp_path, overlap, growth
):
    run = trained(tiny, tmp_path, density=0.4, overlap=overlap, growth=growth)
    first, last = (run[step].model() for step in (0, 1))
    old, new = used_weights(first, 0), used_weights(last, 1)
    kept = used_weights(last, 0)
    for name, weight in matrices(last).items():
        before = matrices(first)[name]
        assert torch.equal(old[name], kept[name])
        same = ~new[name] if overlap == "free" else old[name] | ~new[name]
        assert torch.equal(weight[same], before[same])
        fresh = new[name] & ~old[name]
        assert not torch.equal(weight[fresh], before[fresh])
        if overlap == "free":
            both = new[name] & old[name]
            assert both.any() and not torch.equal(weight[both], before[both])


def old_likelihood(run: Run, step: int) -> list[torch.Tensor]:
    """log p of images of the first task, as its sub-network has it."""
    view, _ = views(run[step].model())[0]
    image = run.features.where(split="test", category="bee").read([0, 1])
    found = []
    for level, x in zip(view.levels, image):
        z, log_det = level(x.flatten(0, 1).float())
        found.append(level.mixture.log_prob(z, view.class_ids(["bee"])) + log_det)
    return found


@pytest.mark.parametrize(
    ("overlap", "biases"), list(product(OVERLAPS, ["own", "shared"]))
)
def test_what_is_held_keeps_the_likelihood_to_the_bit(tiny, tmp_path, overlap, biases):
    run = trained(tiny, tmp_path, density=0.4, overlap=overlap, biases=biases)
    pairs = zip(old_likelihood(run, 0), old_likelihood(run, 1))
    same = all(torch.equal(a, b) for a, b in pairs)
    assert same == (overlap != "free" and biases == "own")


def test_a_snapshot_scores_as_the_task_was_learned(tiny, stream, tmp_path):
    strategy, model = after_first(Sparse(density=0.3), tiny, stream)
    model, _ = learn(model, strategy, stream[1], tiny)
    batch = batch_of(model, stream[1])
    model.eval()
    during = latents(model, batch)
    strategy.consolidate(model, stream[1])
    for pair, same in zip(latents(views(model)[1][0], batch), during):
        assert all(torch.equal(a, b) for a, b in zip(pair, same))
    zeros = [
        (weight == 0).float().mean() for weight in matrices(views(model)[1][0]).values()
    ]
    assert min(zeros) > 0


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_the_log_determinant_is_that_of_the_jacobian(tiny, stream, overlap):
    strategy, model = after_first(Sparse(density=0.4, overlap=overlap), tiny, stream)
    model = model.double()
    strategy.prepare(model, stream[1], {})
    for _, part in strategy._parts:
        part.active.copy_(torch.rand(part.active.shape) < 0.5)
    level = model.levels[0]
    x = torch.randn(1, level.dim, dtype=torch.float64)
    cell = torch.zeros(1, dtype=torch.long)
    jacobian = torch.autograd.functional.jacobian(lambda x: level(x, cell)[0], x)
    _, log_det = level(x, cell)
    expected = torch.linalg.slogdet(jacobian[0, :, 0]).logabsdet
    torch.testing.assert_close(log_det[0], expected)


def test_a_dense_free_network_is_fine_tuning_to_the_bit(tiny, tmp_path):
    dense = {"density": 1.0, "biases": "shared"}
    runs = [
        fit(tiny.replace(strategy=name, options=o), folder=tmp_path, progress=False)
        for name, o in (("sparse", dense), ("finetune", {}))
    ]
    for step in (0, 1):
        one, two = (run[step].model().state_dict() for run in runs)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_mask_costs_a_bit_a_weight(tiny, tmp_path):
    run = trained(tiny, tmp_path, biases="shared")
    sizes = [weight.numel() for weight in matrices(run[1].model()).values()]
    assert run[1].kept_bytes == 2 * sum(math.ceil(n / 8) for n in sizes)


# ---- what may be added


@pytest.fixture
def apart(tiny, stream) -> Sparse:
    """At the begin of the second task, with the orthogonal loss."""
    strategy, model = after_first(Sparse(density=0.5, orthogonal=2.0), tiny, stream)
    strategy.prepare(strategy.grow(model, stream[1]), stream[1], {})
    return strategy


def test_the_orthogonal_loss_is_a_cosine(apart):
    value = apart._likeness()
    ours, theirs = (
        torch.cat([one.flatten() for one in parts])
        for parts in ([part(w).abs() for w, part in apart._parts], apart._earlier)
    )
    expected = torch.nn.functional.cosine_similarity(ours, theirs, dim=0)
    torch.testing.assert_close(value, expected)
    assert 0 < value < 1
    for _, part in apart._parts:
        part.active.copy_(part.owned)
    torch.testing.assert_close(apart._likeness(), torch.ones(()))
    for _, part in apart._parts:
        part.active.copy_(~part.owned)
    assert apart._likeness() == 0


def test_the_gradient_of_the_orthogonal_loss_is_that_of_differences(apart):
    for weight, part in apart._parts:
        weight.data = weight.data.double()
        part.double()
    apart._earlier = [one.double() for one in apart._earlier]
    weight, part = apart._parts[2]
    (grad,) = torch.autograd.grad(apart._likeness(), weight)
    at = tuple((part.active & part.owned).nonzero()[0].tolist())
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight[at] += step
            values.append(apart._likeness())
            weight[at] -= step
    expected = (values[0] - values[1]) / 2e-6
    torch.testing.assert_close(grad[at], expected, rtol=1e-5, atol=1e-9)
    assert grad[at] != 0 and (grad[~part.active] == 0).all()


def test_several_earlier_tasks_weigh_alike(tiny, tmp_path):
    from cl_flow.strategies.sparse import _mean_direction

    model = trained(tiny, tmp_path)[1].model()
    one = _mean_direction(model, 1)
    both = _mean_direction(model, 2)
    assert sum(part.square().sum() for part in one) == pytest.approx(1.0, rel=1e-5)
    norm = sum(part.square().sum() for part in both).sqrt()
    assert norm < 1
    other = torch.cat([(2 * b - a).flatten() for a, b in zip(one, both)])
    torch.testing.assert_close(other.norm(), torch.ones(()))


def test_the_teacher_is_the_sub_network_of_the_task_before(tiny, stream):
    strategy, model = after_first(Sparse(density=0.3, distillation=5.0), tiny, stream)
    assert strategy.penalty is None
    batch = batch_of(strategy.grow(model, stream[1]), stream[1])
    expected = latents(views(model)[0][0], batch)
    strategy.prepare(model, stream[1], {})
    found = latents(strategy._teacher._old, batch)
    for pair, same in zip(found, expected):
        assert all(torch.equal(a, b) for a, b in zip(pair, same))
    assert strategy.penalty(model, batch, latents(model, batch)) > 0
    assert strategy.penalty(model, batch, found).abs() < 1e-5


@pytest.mark.parametrize("option", ["distillation", "orthogonal"])
def test_what_is_added_is_learned_from_the_second_task_on(tiny, tmp_path, option):
    plain, added = (
        trained(tiny, tmp_path, **options) for options in ({}, {option: 10.0})
    )
    for step, same in ((0, True), (1, False)):
        one, two = (matrices(run[step].model()) for run in (plain, added))
        assert same == all(torch.equal(one[name], two[name]) for name in one)


# ---- what is wrong is named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": "some"}, "Unknown overlap of sub-networks 'some'; known: free"),
        ({"growth": "moss"}, "Unknown growth of a mask 'moss'; known: rigl, set"),
        ({"biases": "no"}, "Unknown place of biases 'no'; known: own, shared"),
        ({"density": 0.0}, "a density above 0, 1 at most.*; got 0.0 and 0.3"),
        ({"drop": 1.2}, "a drop between 0 and 1; got None and 1.2"),
        ({"changes": -1}, "Expected changes.* of 0 or more; got -1, 0.0 and 0.0"),
        ({"orthogonal": -2.0}, "orthogonal of 0 or more; got 20, 0.0 and -2.0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises((KeyError, ValueError), match=message):
        Sparse(**options)


def test_disjoint_networks_must_fit_into_the_flow(tiny, tmp_path):
    config = tiny.replace(
        strategy="sparse", options={"overlap": "disjoint", "density": 0.6}
    )
    with pytest.raises(ValueError, match=r"a density of 1/2 at most.*; got 0\.6"):
        fit(config, folder=tmp_path, progress=False)


def test_what_is_not_used_is_left_as_it_was():
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    active = torch.tensor([True, True, False, False])
    owned = torch.tensor([True, False, True, False])
    part = Masked(weight, active, owned, hold=True)
    with torch.no_grad():
        weight += 10
    assert part(weight).tolist() == [1.0, 12.0, 0.0, 0.0]
    assert part.left(weight).tolist() == [1.0, 12.0, 3.0, 4.0]
    part(weight).sum().backward()
    assert weight.grad.tolist() == [1.0] * 4
