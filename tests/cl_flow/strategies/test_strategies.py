"""Laws of every strategy: what is protected keeps its bits, what pulls is zero at rest,
what is rehearsed is finite.
"""

import copy
import dataclasses
import json
import math
import re
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

from analysis.scoring import Scoring
from cl_flow import STRATEGIES, FlowModel, Run, RunConfig, fit, make_stream
from cl_flow.align import GaussianStats
from cl_flow.calls import kinds_of
from cl_flow.data.patches import Batch, PatchPool, stored
from cl_flow.model.class_views import views
from cl_flow.runs.config import new_strategy
from cl_flow.runs.continual import learn
from cl_flow.strategies import Strategy
from cl_flow.strategies.lora import BIASES, DECOFLOW
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.old_model import frozen, per_image_fisher

NAMES = sorted(STRATEGIES)
GRID = [(name, options) for name in NAMES for options in STRATEGIES[name].GRID]
PULLS = (
    "efc",
    "ewc",
    "functional",
    "lwf",
)  # their penalty is a distance from the old model
REHEARSE = (
    "adagauss",
    "efc",
    "feature_gaussian",
    "functional",
    "gauge_free",
    "generative_replay",
    "gradient_mixture",
    "replay",
)


@pytest.fixture(scope="module")
def stream(tiny, tmp_path_factory) -> list:
    return make_stream(
        Run.at(tiny, folder=tmp_path_factory.mktemp("stream")).features, tiny.stream
    )


@pytest.fixture(scope="module")
def learnt(tiny, stream) -> dict[str, tuple[Strategy, FlowModel]]:
    """Every strategy and its model after the first task."""
    return {name: after_first(STRATEGIES[name](), tiny, stream) for name in NAMES}


def after_first(
    strategy: Strategy, tiny: RunConfig, stream: list
) -> tuple[Strategy, FlowModel]:
    features = stream[0].features
    model = FlowModel(features.dims, features.grids, tiny.flow)
    task = strategy.arrange(stream)[0]
    model, _ = learn(model, strategy, task, tiny)
    strategy.consolidate(model, task)
    return strategy, model


def again(learnt: tuple[Strategy, FlowModel]) -> tuple[Strategy, FlowModel]:
    """A copy, which a test may go on with."""
    return copy.deepcopy(learnt)


def batch_of(model: FlowModel, task, n: int = 4) -> Batch:
    images = task.features.take(range(n))
    x = [level.flatten(0, 1).float() for level in images.read()]
    return Batch(x, [None] * len(x), model.class_ids(list(images.samples["category"])))


def latents(model: FlowModel, batch: Batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [
        level(x, index) for level, x, index in zip(model.levels, batch.x, batch.index)
    ]


def begun(
    name: str, learnt: dict, stream: list, **options
) -> tuple[Strategy, FlowModel, Batch]:
    """A strategy and its model at the first step of the second task, and a batch as it
    then sees it.
    """
    strategy, model = again(learnt[name])
    for key, value in options.items():
        setattr(strategy, key, value)
    model = strategy.grow(model, stream[1])
    strategy.prepare(model, stream[1], {})
    rehearsal, batch = strategy.rehearse(model, stream[1]), batch_of(model, stream[1])
    if rehearsal is None:
        return strategy, model, batch
    extra = rehearsal.pool.draw(
        12, [len(x) // 4 for x in batch.x], torch.Generator().manual_seed(0)
    )
    index = [torch.arange(len(level.codes)).repeat(4) for level in model.levels]
    both = (
        [torch.cat(pair) for pair in zip(batch.x, extra.x)],
        [torch.cat(pair) for pair in zip(index, extra.index)],
    )
    return (
        strategy,
        model,
        Batch(*both, torch.cat([batch.y, extra.y]), 4, rehearsal.taught),
    )


# ---- every strategy


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_what_its_strengths_are(name):
    strategy = STRATEGIES[name]
    assert strategy.__doc__ and 1 <= len(strategy.GRID) <= 4
    assert len(
        {json.dumps(options, sort_keys=True) for options in strategy.GRID}
    ) == len(strategy.GRID)
    assert strategy.sees_past == (name == "cumulative")


@pytest.mark.parametrize(("name", "options"), GRID)
def test_the_config_of_every_strength_round_trips(tiny, tmp_path, name, options):
    STRATEGIES[name](**options)
    run = Run.at(tiny.replace(strategy=name, options=options), folder=tmp_path)
    assert Run(run.folder).config == run.config and dict(run.config.options) == dict(
        options
    )


# Whether a method keeps anything beside the model; a new one needs no line here.
KEEPS = {
    "adagauss": True,
    "class_prior": False,
    "cumulative": False,
    "efc": True,
    "ewc": True,
    "feature_gaussian": True,
    "finetune": False,
    "freeze": False,
    "functional": True,
    "gauge_free": True,
    "generative_replay": True,
    "gradient_mixture": True,
    "joint": False,
    "lora": True,
    "lwf": False,
    "packnet": True,
    "realign": True,
    "replay": True,
    "single": False,
    "sparse": True,
}


@pytest.mark.parametrize("name", NAMES)
def test_what_it_keeps_is_tensors_and_counted(tiny, tmp_path, name):
    run = fit(tiny.replace(strategy=name), folder=tmp_path, progress=False)
    kept = run[-1].memory()
    assert all(value.isfinite().all() for value in kept.values())
    assert run[-1].kept_bytes >= sum(value.nbytes for value in kept.values())
    if name in KEEPS:
        assert (run[-1].kept_bytes > 0) == KEEPS[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_task_is_plain_fine_tuning(learnt, name):
    """A method has nothing to protect yet, so that all start from one model (but those
    that build another).
    """
    same = all(
        torch.equal(a, b)
        for a, b in zip(
            learnt[name][1].parameters(), learnt["finetune"][1].parameters()
        )
    )
    others = ("class_prior", "gradient_mixture", "joint", "packnet", "sparse")
    assert same == (name not in others)


@pytest.mark.parametrize("name", NAMES)
def test_the_task_s_own_images_are_all_learnt(learnt, stream, name):
    strategy, model = again(learnt[name])
    if name != "joint":
        data = strategy.prepare(
            strategy.grow(model, stream[1]), stream[1], {0: stream[0]}
        )
        assert set(stream[1].features.samples["image_path"]) <= set(
            data.samples["image_path"]
        )


# ---- penalties


@pytest.mark.parametrize("name", PULLS)
def test_a_penalty_is_zero_at_the_anchor_and_positive_elsewhere(learnt, stream, name):
    strategy, model, batch = begun(name, learnt, stream)
    assert abs(strategy.penalty(model, batch, latents(model, batch)).item()) < 1e-6
    with torch.no_grad():
        for level in model.levels:
            level.flow[0].outer.weight.add_(
                0.05 * torch.randn_like(level.flow[0].outer.weight)
            )
    moved = strategy.penalty(model, batch, latents(model, batch))
    moved.backward()
    gradient = model.levels[0].flow[0].outer.weight.grad
    assert (
        moved.item() > 1e-6 and gradient.isfinite().all() and gradient.abs().sum() > 0
    )


@pytest.mark.parametrize("on", ["posterior", "latents"])
def test_distillation_is_zero_at_the_anchor_for_either_target(learnt, stream, on):
    strategy, model, batch = begun("lwf", learnt, stream, on=on)
    assert abs(strategy.penalty(model, batch, latents(model, batch)).item()) < 1e-6


def test_ewc_holds_the_whole_flow_and_the_old_centers_but_no_new_one(learnt, stream):
    strategy, model, batch = begun("ewc", learnt, stream)
    flow = {name for name, _ in model.named_parameters() if ".flow." in name}
    assert flow <= set(strategy.memory) and all(
        strategy.memory[name].sum() > 0 for name in flow
    )
    held = {name for name in strategy.memory if ".mixture." in name}
    assert any("_mu.0" in name for name in held) and not any(
        name.endswith(".1") for name in held
    )
    before = strategy.penalty(model, batch, latents(model, batch))
    model.levels[0].mixture.blocks()[1]["mu"].data += 1.0
    assert torch.equal(strategy.penalty(model, batch, latents(model, batch)), before)


def test_the_fisher_information_is_of_single_images(learnt, stream):
    """Two images of opposite gradients: their mean vanishes, their information does
    not.
    """
    _, model = learnt["finetune"]
    one, other = stream[0].features.take([0]), stream[0].features.take([5])
    both = stream[0].features.take([0, 5])
    each = [per_image_fisher(model, images) for images in (one, other)]
    for name, value in per_image_fisher(model, both).items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


def test_ewc_keeps_weights_nearer_where_they_mattered(tiny, stream):
    config, moved = tiny.replace(train=dataclasses.replace(tiny.train, epochs=10)), []
    for strength in (0.0, 1e6):
        strategy, model = after_first(
            STRATEGIES["ewc"](strength=strength), tiny, stream
        )
        old, fisher = frozen(model), strategy.memory
        learn(model, strategy, stream[1], config)
        new = dict(model.named_parameters())
        moved.append(
            sum(
                (fisher[n] * (new[n] - p).square()).sum().item()
                for n, p in old.named_parameters()
            )
        )
    assert moved[1] < 0.5 * moved[0]


# ---- protected weights


def after_second(
    name: str, tiny: RunConfig, stream: list, **options
) -> tuple[FlowModel, FlowModel]:
    strategy, model = after_first(STRATEGIES[name](**options), tiny, stream)
    first = copy.deepcopy(model)
    config = tiny.replace(train=dataclasses.replace(tiny.train, weight_decay=0.1))
    model, _ = learn(model, strategy, stream[1], config)
    strategy.consolidate(model, stream[1])
    return first, model


@pytest.mark.parametrize(("share", "n_frozen"), [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_frozen_blocks_keep_their_bits(tiny, stream, share, n_frozen):
    first, model = after_second("freeze", tiny, stream, share=share)
    for old, new in zip(first.levels, model.levels):
        same = [
            all(
                torch.equal(a, b)
                for a, b in zip(*(level.flow[i].parameters() for level in (old, new)))
            )
            for i in range(tiny.flow.n_blocks)
        ]
        assert same == [i < n_frozen for i in range(tiny.flow.n_blocks)]


def test_freezing_everything_keeps_the_likelihood_of_the_first_task(tiny, tmp_path):
    run = fit(
        tiny.replace(strategy="freeze", centers="freeze_old"),
        folder=tmp_path,
        progress=False,
    )
    image = run.features.where(split="test", category="bee").read([0])
    scores = []
    for model in (run[0].model(), run[1].model()):
        pairs = [
            (level, *level(x.flatten(0, 1).float()))
            for level, x in zip(model.levels, image)
        ]
        scores.append(
            [
                level.mixture.log_prob(z, model.class_ids(["bee"])) + d
                for level, z, d in pairs
            ]
        )
    assert all(torch.equal(a, b) for a, b in zip(*scores))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("packnet", {}),
        ("packnet", {"first": 0.6}),
        ("lora", {"rank": 2}),
        ("lora", DECOFLOW),
    ],
)
def test_a_task_s_own_flow_keeps_its_bits(tiny, stream, name, options):
    first, model = after_second(name, tiny, stream, **options)
    (old, _), (new, _) = views(first)[0], views(model)[0]
    for a, b in zip(old.levels, new.levels):
        kept = dict(b.flow.named_parameters())
        assert kept and all(
            torch.equal(p, kept[name]) for name, p in a.flow.named_parameters()
        )
    latest = views(model)[1][0]
    assert not torch.equal(
        latest.levels[0].flow[0].inner_weight, new.levels[0].flow[0].inner_weight
    )


@pytest.mark.parametrize(
    ("name", "options"), [("packnet", {}), ("lora", {}), ("lora", DECOFLOW)]
)
def test_weights_of_their_own_survive_the_round_trip(tiny, tmp_path, name, options):
    from analysis.detection.measure import image_scores

    run = fit(
        tiny.replace(strategy=name, options=options, centers="freeze_old"),
        folder=tmp_path,
        progress=False,
    )
    model = run[1].model()
    assert [ids.tolist() for _, ids in views(model)] == [[0, 1, 2], [3, 4, 5]]
    scores = image_scores(
        run, scoring=Scoring(part="logp", given=("category", None), size=32)
    )
    first = scores[(scores["task"] == 0) & (scores["given"] == "category")]
    steps = [rows["score"].to_numpy() for _, rows in first.groupby("step")]
    assert (steps[0] == steps[1]).all(), (
        "nothing of the first task's likelihood may have changed"
    )


def test_packnet_partitions_the_weights(tiny, stream):
    first, model = after_second("packnet", tiny, stream)
    owners = {
        name: value for name, value in model.own.items() if name.startswith("owner/")
    }
    assert len(owners) == 3 * tiny.flow.n_blocks * len(model.levels)
    for name, owner in owners.items():
        assert set(owner.unique().tolist()) == {0, 1}, (
            "after the last task every weight has one owner"
        )
        assert (owner == 0).float().mean() == pytest.approx(
            0.5, abs=0.5 / owner.numel() + 1e-6
        )
        free = first.own[name] == 255
        weight = dict(first.named_parameters())[name.removeprefix("owner/")]
        assert (
            torch.equal(free, owner == 1)
            and (weight[free] == 0).all()
            and (weight[~free] != 0).all()
        )


def test_an_adapter_has_its_rank(tiny, stream):
    first, model = after_second("lora", tiny, stream, rank=2)
    change = (
        views(model)[1][0].levels[0].flow[1].outer.weight
        - first.levels[0].flow[1].outer.weight
    )
    assert torch.linalg.matrix_rank(change).item() == 2


@pytest.mark.parametrize("options", [{}, DECOFLOW])
def test_an_adapter_learns_and_what_it_adapts_does_not(tiny, stream, options):
    """Of the flow's own parameters none moves but biases that are asked for; whatever
    is added to it does.
    """
    strategy, model = after_first(STRATEGIES["lora"](**options), tiny, stream)
    begun = copy.deepcopy((strategy, model))
    config = tiny.replace(train=dataclasses.replace(tiny.train, weight_decay=0.0))
    model, _ = learn(model, strategy, stream[1], config)
    strategy, start = begun
    strategy.prepare(strategy.grow(start, stream[1]), stream[1], {})
    before, after = (dict(one.named_parameters()) for one in (start, model))
    assert before.keys() == after.keys()
    added = (".0.up", ".0.down", ".before.", ".after.")
    wanted = (*added, *(BIASES if options else ()))
    names = [name for name in before if ".mixture." not in name]
    moved = {name for name in names if not torch.equal(before[name], after[name])}
    learning = {name for name in names if any(part in name for part in wanted)}
    assert moved == {name for name in learning if before[name].requires_grad}
    assert moved and moved < set(names)


@pytest.mark.parametrize("name", ["biases", "align", "couplings", "tail"])
def test_each_part_of_decoflow_is_learned_and_only_where_asked_for(tiny, stream, name):
    def names(options) -> set[str]:
        _, model = after_second("lora", tiny, stream, **options)
        return set(model.own)

    def view(options) -> FlowModel:
        return views(after_second("lora", tiny, stream, **options)[1])[1][0]

    alone, plain = {name: DECOFLOW[name]}, {}
    parts = {
        "biases": "bias",
        "align": ".before.",
        "couplings": ".after.",
        "tail": "nothing",
    }
    more = names(alone) - names(plain)
    assert all(parts[name] in key for key in more) and bool(more) == (name != "tail")
    weight = view(alone).levels[0].flow[0].inner_weight
    assert not torch.equal(weight, view(plain).levels[0].flow[0].inner_weight)


def test_an_adapter_that_has_learned_nothing_gives_the_first_task_s_flow(tiny, stream):
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=0))
    strategy, model = after_first(STRATEGIES["lora"](**DECOFLOW), tiny, stream)
    model, _ = learn(model, strategy, stream[1], config)
    batch = batch_of(model, stream[0])
    during = latents(model, batch)
    strategy.consolidate(model, stream[1])
    for view, _ in views(model):
        for pair, same in zip(latents(view, batch), during):
            assert all(torch.equal(a, b) for a, b in zip(pair, same))


def test_the_tail_is_of_the_least_likely_patches_of_later_tasks(learnt, stream):
    strategy, model, batch = begun("lora", learnt, stream, tail=2.0, tail_share=1e-6)
    x = latents(model, batch)
    worst = 0.0
    for level, (z, log_det) in zip(model.levels, x):
        each = (level.mixture.log_prob(z, batch.y) + log_det) / level.dim
        worst = worst - each.min()
    torch.testing.assert_close(strategy.penalty(model, batch, x), 2 * worst)
    strategy.tail_share = 1.0
    assert strategy.penalty(model, batch, x) < 2 * worst
    strategy.prepare(model, stream[0], {})
    assert strategy.penalty is None, "nothing is to be made up for in the first task"


# ---- rehearsal


@pytest.mark.parametrize("name", REHEARSE)
def test_what_is_rehearsed_is_finite_and_of_every_old_class(learnt, stream, name):
    strategy, model = again(learnt[name])
    assert strategy.rehearse(model, stream[0]) is None or name in (
        "adagauss",
        "efc",
        "feature_gaussian",
        "gauge_free",
        "gradient_mixture",
        "replay",
    )
    model = strategy.grow(model, stream[1])
    rehearsal = strategy.rehearse(model, stream[1])
    assert rehearsal.share == 0.5
    batch = rehearsal.pool.draw(300, [7, 3], torch.Generator().manual_seed(0))
    assert [len(x) for x in batch.x] == [2100, 900] and all(
        x.isfinite().all() for x in batch.x
    )
    assert torch.bincount(batch.y).tolist() == pytest.approx([100] * 3, abs=35)
    for level, index in zip(model.levels, batch.index):
        assert set(index.tolist()) == set(range(len(level.codes))), (
            "cells are drawn uniformly"
        )


def test_replay_with_everything_kept_trains_on_what_cumulative_does(tiny, stream):
    strategy, model = after_first(
        STRATEGIES["replay"](budget_bytes=None, ratio=None), tiny, stream
    )
    model = strategy.grow(model, stream[1])
    everything = STRATEGIES["cumulative"]().prepare(model, stream[1], {0: stream[0]})
    new = PatchPool.of(stream[1].features, model.categories, torch.Generator())
    bag = stored(strategy.memory).joined(new, torch.Generator())
    for k, name in enumerate(model.categories):
        for level, images in enumerate(everything.where(category=name).read()):
            first = int(bag.counts[level][:k].sum())
            rows = slice(first, first + int(bag.counts[level][k]))
            cells = torch.arange(images.shape[1]).repeat(len(images))
            kept = zip(bag.x[level][rows].tolist(), bag.cells[level][rows].tolist())
            assert sorted(kept) == sorted(
                zip(images.flatten(0, 1).tolist(), cells.tolist())
            )
    assert balanced_share(model, stream[1], None) == len(stream[0].features) / len(
        everything
    ), "steps and mix alike"


def test_a_kept_patch_remembers_its_cell(stream):
    bag = PatchPool.of(stream[0].features, ["bee"], torch.Generator().manual_seed(0))
    images = stream[0].features.where(category="bee").read()[1]
    for x, cell in zip(bag.x[1][:20], bag.cells[1][:20]):
        assert (images[:, cell.item()] == x).all(1).any()


@pytest.mark.parametrize("budget", [3_000, 30_000])
def test_replay_stays_within_its_budget_and_treats_classes_alike(
    tiny, tmp_path, budget
):
    config = tiny.replace(strategy="replay", options={"budget_bytes": budget})
    run = fit(config, folder=tmp_path, progress=False)
    for step, snapshot in enumerate(run):
        counts = stored(snapshot.memory()).counts
        assert snapshot.kept_bytes <= budget and all(
            len(set(level.tolist())) == 1 for level in counts
        )
        assert len(counts[0]) == 3 * (step + 1)
    with pytest.raises(
        ValueError, match="a patch per class and level or more; got 50 bytes"
    ):
        fit(
            tiny.replace(strategy="replay", options={"budget_bytes": 50}),
            folder=tmp_path,
            progress=False,
        )


@pytest.mark.parametrize("law", ["empirical", "mixture"])
@pytest.mark.parametrize("name", ["generative_replay", "functional"])
def test_dreams_are_finite_and_their_inversion_error_is_reported(
    tiny, tmp_path, name, law
):
    run = fit(
        tiny.replace(strategy=name, options={"law": law}),
        folder=tmp_path,
        progress=False,
    )
    assert "inversion_error" not in run[0].memory()
    facts = run[1].memory()
    assert (facts["finite_share"] == 1).all() and (
        facts["inversion_error"] < 1e-3
    ).all()
    assert ("law.0.0.mean" in facts) == (law == "empirical")


def test_the_gauge_free_term_ignores_affine_moves(learnt, stream):
    """With the moments at those of the samples, no affine map of the latents changes
    the loss to first order.
    """
    strategy, model, batch = begun("gauge_free", learnt, stream, momentum=0.0)
    dim = model.levels[0].dim
    z, log_det = (values.detach().double() for values in latents(model, batch)[0])
    moments = strategy._moments.levels[0]
    parts = {name: value.double() for name, value in vars(moments).items()}
    strategy._moments.levels[0] = dataclasses.replace(moments, **parts)
    model.levels = model.levels[:1]
    matrix = torch.eye(dim, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(dim, dtype=torch.float64, requires_grad=True)
    moved = z @ matrix.T + shift, log_det + torch.linalg.slogdet(matrix).logabsdet
    strategy.penalty(model, batch, [moved]).backward()
    scale = strategy.strength / dim
    assert (
        matrix.grad.abs().max() < 0.05 * scale and shift.grad.abs().max() < 1e-6 * scale
    )


@pytest.mark.parametrize("name", ["adagauss", "gauge_free"])
def test_a_stretch_of_latents_costs_adagauss_what_gauge_free_lets_pass(
    learnt, stream, name
):
    strategy, model, batch = begun(name, learnt, stream, momentum=0.0)
    before = [(z.detach(), log_det.detach()) for z, log_det in latents(model, batch)]
    after = [(2 * z + 1, log_det + z.shape[1] * math.log(2.0)) for z, log_det in before]
    costs = [
        strategy.penalty(model, batch, values).item() for values in (before, after)
    ]
    if name == "gauge_free":
        assert costs[1] == pytest.approx(costs[0], rel=1e-4)
    else:
        assert costs[1] > 1.5 * costs[0]


def divergence(z: torch.Tensor, y: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """KL(N(m_k, S_k) ‖ N(mu_k, I)) of each class's latents, a mean over latents."""
    total, eye = 0.0, torch.eye(z.shape[1])
    for k in y.unique():
        own = z[y == k]
        normal = torch.distributions.MultivariateNormal(
            own.mean(0), 0.999 * own.T.cov(correction=0) + 0.001 * own.var() * eye
        )
        unit = torch.distributions.MultivariateNormal(mu[k], eye)
        total = total + len(own) * torch.distributions.kl_divergence(normal, unit)
    return total / len(z)


def test_adagauss_is_the_divergence_and_so_is_its_gradient(learnt, stream):
    strategy, model, batch = begun("adagauss", learnt, stream, momentum=0.0)
    pairs = [(z.detach().requires_grad_(), d) for z, d in latents(model, batch)]
    strategy.penalty(model, batch, pairs).backward()
    y = batch.rehearsed(batch.y)
    whole = []
    for level, (z, _) in zip(model.levels, pairs):
        rows = batch.rehearsed(z.detach()).requires_grad_()
        own = y.repeat_interleave(len(rows) // len(y))
        whole.append(divergence(rows, own, level.mixture.mu.detach()) / level.dim)
        whole[-1].backward()
        torch.testing.assert_close(
            batch.rehearsed(z.grad), rows.grad, atol=1e-4, rtol=0.05
        )
        assert (z.grad[: len(z) - len(rows)] == 0).all()
    expected = strategy.strength * torch.stack(whole).sum().item()
    assert strategy.penalty(model, batch, pairs).item() == pytest.approx(
        expected, rel=0.02
    )


def test_a_class_as_the_mixture_has_it_costs_adagauss_nothing(learnt, stream):
    strategy, model, batch = begun("adagauss", learnt, stream, momentum=1.0)
    for i, level in enumerate(model.levels):
        n = torch.full((3,), 1e12)
        mu = level.mixture.mu[:3].detach()
        scatter = n[:, None, None] * torch.eye(level.dim)
        strategy._moments.levels[i] = GaussianStats(n, mu, scatter)
    assert strategy.penalty(model, batch, latents(model, batch)).abs().item() < 1e-5


@pytest.mark.parametrize("name", ["adagauss", "efc"])
def test_a_penalty_on_draws_is_the_same_whether_they_are_taught(learnt, stream, name):
    costs = []
    for taught in (True, False):
        strategy, model, batch = begun(name, learnt, stream, taught=taught)
        assert batch.taught == taught
        moved = [(z + 0.1, log_det) for z, log_det in latents(model, batch)]
        costs.append(strategy.penalty(model, batch, moved).item())
    assert costs[0] == costs[1] > 0


def test_gauge_free_gives_old_classes_the_density_of_their_latents(tiny, stream):
    _, model = after_second("gauge_free", tiny, stream)
    mixture = model.levels[0].mixture
    weight, bias = mixture.frames
    eye = torch.eye(mixture.dim)
    assert torch.equal(weight[3:], eye.expand(3, -1, -1)) and (bias[3:] == 0).all()
    covariance = torch.linalg.inv(weight[1].T @ weight[1])
    mean = torch.linalg.solve(weight[1], mixture.mu[1] - bias[1])
    normal = torch.distributions.MultivariateNormal(mean, covariance)
    z = mean + torch.randn(50, mixture.dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        mixture.log_prob(z, torch.tensor([1])), normal.log_prob(z), atol=1e-2, rtol=1e-3
    )


def test_a_class_prior_tells_classes_apart_without_centers(tiny, tmp_path):
    from analysis.detection.measure import image_scores

    run = fit(tiny.replace(strategy="class_prior"), folder=tmp_path, progress=False)
    model = run[1].model()
    assert torch.equal(
        model.levels[0].class_codes[:3], run[0].model().levels[0].class_codes
    )
    assert all(
        (level.mixture.mu == 0).all() and (level.mixture.delta == 0).all()
        for level in model.levels
    )
    x = run.features.take([0]).read()[0].flatten(0, 1).float()
    z = [model.levels[0](x, y=torch.tensor([k]))[0] for k in (0, 1)]
    assert not torch.equal(*z)
    assert (
        image_scores(run, scoring=Scoring(part="logp", given=(None,), size=32))[
            "routed"
        ].nunique()
        > 1
    )
    with pytest.raises(ValueError, match="Expected the class of each image"):
        model.levels[0](x)


# ---- what is wrong is named


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: STRATEGIES["lwf"](on="images"),
            "Unknown target of LwF 'images'; known: posterior, latents",
        ),
        (
            lambda: STRATEGIES["functional"](law="uniform"),
            "Unknown law of latents 'uniform'; known: empirical, mixture",
        ),
        (
            lambda: STRATEGIES["freeze"](share=2),
            "a share of the blocks between 0 and 1; got 2",
        ),
        (
            lambda: STRATEGIES["packnet"](first=1.0),
            "a share of the weights between 0 and 1; got 1.0",
        ),
        (lambda: STRATEGIES["lora"](rank=0), "a rank of 1 or more; got 0"),
        (
            lambda: STRATEGIES["lora"](tail_share=0.0),
            "a tail_share above 0, 1 at most; got 0, 0.0 and 0.0",
        ),
        (lambda: STRATEGIES["lora"](couplings=-1), "0 or more.*; got -1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises((KeyError, ValueError), match=message):
        make()


def numbers() -> list[tuple[str, str]]:
    """Every option of every strategy that is a number."""
    found = []
    for name in NAMES:
        for option, hint in get_type_hints(STRATEGIES[name].__init__).items():
            if {int, float} & set(kinds_of(hint)):
                found.append((name, option))
    return found


@pytest.mark.parametrize(("name", "option"), numbers())
@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_no_number_of_a_strategy_is_negative_or_none_at_all(tiny, name, option, wrong):
    config = tiny.replace(strategy=name, options={option: wrong})
    with pytest.raises((TypeError, ValueError), match=r"^Expected .*; got .*"):
        new_strategy(config)


def test_there_are_numbers_to_hold_to_it():
    assert len(numbers()) > 40
    assert {("efc", "strength"), ("adagauss", "momentum")} <= set(numbers())


# ---- a method of one's own


def test_the_example_of_the_pages_is_a_strategy(tiny, tmp_path):
    page = Path(__file__).resolve().parents[3] / "docs/howto/strategy.md"
    text = page.read_text(encoding="utf-8")
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    namespace = {"__name__": "strategy"}
    try:
        exec(compile(source, "strategy.md", "exec"), namespace)
        moved = []
        for strength in (0.0, 1e4):
            run = fit(
                tiny.replace(strategy="stay", options={"strength": strength}),
                folder=tmp_path,
                progress=False,
            )
            first, last = (
                dict(run[step].model().levels.named_parameters()) for step in (0, 1)
            )
            moved.append(
                sum(
                    (last[n] - p).square().sum().item()
                    for n, p in first.items()
                    if ".flow." in n
                )
            )
        assert moved[1] < 0.8 * moved[0]
    finally:
        STRATEGIES.pop("stay", None)
