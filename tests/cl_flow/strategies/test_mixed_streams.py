"""Every strategy learns a stream without boundaries, and goes on after a cut, or refuses."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from cl_flow import MODELS, STRATEGIES, Run, RunConfig, StreamConfig, fit
from cl_flow.data.features import Features
from cl_flow.data.patches import ImagePool, PatchPool, stored
from cl_flow.runs.config import new_strategy
from cl_flow.strategies import Strategy
from tests.cl_flow.runs.test_fitting import cut_and_continued

BLURRED = StreamConfig(split=2, blur=0.5)
FREE = sorted(name for name, one in STRATEGIES.items() if not one.needs_boundaries)
BOUND = sorted(set(STRATEGIES) - set(FREE))
KINDS = [(model, name) for model in ("flow", "uniad") for name in FREE]
BUDGET = {"budget_bytes": 30_000}


def of(tiny: RunConfig, model: str, strategy: str) -> RunConfig:
    options = BUDGET if strategy == "replay" else {}
    return tiny.replace(model=model, strategy=strategy, options=options, stream=BLURRED)


def test_who_anchors_at_no_tasks_end_needs_no_boundaries():
    assert FREE == ["cumulative", "finetune", "joint", "replay"]
    assert Strategy.needs_boundaries


@pytest.mark.parametrize("n_whole", [1, 2])
@pytest.mark.parametrize(("model", "strategy"), KINDS)
def test_it_is_learned_and_continued_to_the_same_bytes(
    tiny, tmp_path, model, strategy, n_whole, monkeypatch
):
    config = of(tiny, model, strategy)
    whole = fit(config, folder=tmp_path / "whole", progress=False)
    assert whole.is_complete and len(whole) == (1 if strategy == "joint" else 3)
    assert sorted(whole[-1].categories) == sorted(sum(whole.tasks, ()))
    cut_and_continued(whole, min(n_whole, len(whole) - 1), tmp_path, monkeypatch)


@pytest.mark.parametrize("strategy", BOUND)
def test_who_needs_boundaries_says_so_before_a_folder_is_there(
    tiny, tmp_path, strategy
):
    config = tiny.replace(strategy=strategy, stream=BLURRED)
    message = (
        r"strategy that does without task boundaries \(cumulative, finetune, joint, "
        rf"replay\) on a stream with blur=0.5; got '{strategy}', which needs them"
    )
    with pytest.raises(ValueError, match=message):
        new_strategy(config)
    with pytest.raises(ValueError, match=message):
        fit(config, folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_so_does_a_model_that_holds_on_to_its_last_task(tiny, tmp_path):
    able = sorted(name for name, one in MODELS.items() if not one.needs_boundaries)
    assert able == ["flow", "uniad"]
    config = tiny.replace(model="iuf", stream=BLURRED)
    with pytest.raises(ValueError, match=r"model that does .*\(flow, uniad\).*'iuf'"):
        fit(config, folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_window_without_a_new_category_trains_the_model_as_it_is(tiny, tmp_path):
    run = fit(of(tiny, "flow", "finetune"), folder=tmp_path, progress=False)
    steps = run.facts["steps"]
    assert [len(step["categories"]) for step in steps] == [4, 2, 0]
    assert [len(snapshot.categories) for snapshot in run] == [4, 6, 6]
    assert sum(step["images"] for step in steps) == 36
    one, two = run[1].model(), run[2].model()
    arrivals = [tuple(step["categories"]) for step in steps[:2]]
    assert two.arrivals == one.arrivals == arrivals
    before, after = ([*m.levels[0].flow.parameters()] for m in (one, two))
    assert any(not torch.equal(a, b) for a, b in zip(before, after))


def test_cumulative_training_sees_no_image_twice(tiny, tmp_path):
    stream = Run.at(of(tiny, "flow", "cumulative"), folder=tmp_path).stream()
    past = {task.index: task for task in stream[:-1]}
    seen = STRATEGIES["cumulative"]().prepare(None, stream[-1], past).rows
    assert len(set(seen.tolist())) == len(seen) == 36


# ---- what replay keeps of a class that comes again


@pytest.mark.parametrize("model", ["flow", "uniad"])
def test_replay_keeps_every_class_alike_within_its_budget(tiny, tmp_path, model):
    run = fit(of(tiny, model, "replay"), folder=tmp_path, progress=False)
    cells = [height * width for height, width in run.features.grids]
    images = pd.concat(
        [task.features.samples.assign(step=task.index) for task in run.stream()]
    )
    for step, snapshot in enumerate(run):
        memory = snapshot.memory()
        assert snapshot.kept_bytes <= BUDGET["budget_bytes"]
        arrived = images[images["step"] <= step]["category"].value_counts()
        n_seen = torch.tensor([arrived[name] for name in snapshot.categories])
        pool = stored(memory, ImagePool if model == "uniad" else PatchPool)
        quota = [int(counts.max()) for counts in pool.counts]
        for level, n in enumerate(cells):
            assert pool.seen[level].tolist() == (n * n_seen).tolist()
            most = pool.seen[level].clamp(max=quota[level])
            assert pool.counts[level].tolist() == most.tolist()
        _expect_own_patches(run, snapshot.categories, pool, step)
    assert all((c < s).all() for c, s in zip(pool.counts, pool.seen)), "something went"


def _expect_own_patches(run: Run, names, pool: PatchPool, step: int) -> None:
    """What is kept of a class is of its own images so far, none of them twice."""
    for level in range(len(pool.x)):
        parts = pool.x[level].split(pool.counts[level].tolist())
        for name, part in zip(names, parts):
            seen = [
                x
                for task in run.stream()[: step + 1]
                for x in task.features.where(category=name).read()[level].flatten(0, 1)
            ]
            bank = [tuple(x.tolist()) for x in seen]
            kept = [tuple(x.tolist()) for x in part]
            assert not set(kept) - set(bank)
            assert all(kept.count(one) <= bank.count(one) for one in set(kept))


def numbered(sizes: list[int], cells: int) -> list[Features]:
    """Windows of one class, whose patches are numbered; two levels."""
    out = []
    for begin, n in zip(np.cumsum([0, *sizes]), sizes):
        images = np.arange(begin, begin + n)
        x = images[:, None] * cells + np.arange(cells)
        level = np.ascontiguousarray(x[:, :, None]).astype(np.float32)
        samples = pd.DataFrame({"category": ["ant"] * n})
        grids = ((1, cells), (1, cells))
        out.append(Features(samples, (level, level.copy()), grids, np.arange(n)))
    return out


@pytest.mark.parametrize(("kind", "cells"), [(PatchPool, 1), (ImagePool, 3)])
def test_each_patch_or_image_is_kept_as_likely_as_any_other(kind, cells):
    sizes, quotas = [6, 3, 3], [3, 2, 2]  # as more classes arrive, fewer of each
    windows = numbered(sizes, cells)
    n_runs = 800
    kept = np.zeros(sum(sizes))
    places = np.zeros((sum(sizes), 2))
    for seed in range(n_runs):
        generator = torch.Generator().manual_seed(seed)
        pool = None
        for features, quota in zip(windows, quotas):
            new = kind.of(features, ["ant"], generator)
            new = dataclasses.replace(new, seen=new.counts)
            pool = new if pool is None else pool.joined(new, generator)
            pool = pool.first([quota * cells] * 2)
        assert [n.tolist() for n in pool.seen] == [[12 * cells]] * 2
        images = [(x.view(-1, cells)[:, 0] / cells).long().numpy() for x in pool.x]
        assert len(images[0]) == 2
        if kind is ImagePool:
            assert images[0].tolist() == images[1].tolist()
            whole = torch.arange(cells).float().expand(2, cells)
            assert torch.equal(pool.x[0].view(-1, cells) % cells, whole)
        kept[images[0]] += 1
        places[images[0][0], 0] += 1
        places[images[1][-1], 1] += 1
    share = 2 / 12
    error = np.sqrt(share * (1 - share) / n_runs)
    assert np.abs(kept / n_runs - share).max() < 4 * error
    error = np.sqrt(1 / 12 * 11 / 12 / n_runs)
    assert np.abs(places / n_runs - 1 / 12).max() < 4 * error, "nor by its place"


def test_with_boundaries_what_replay_keeps_are_the_bytes_of_ever(tiny, tmp_path):
    """Each class's patches shuffled when it came, cut to its quota from then on."""
    config = tiny.replace(strategy="replay", options=BUDGET)
    run = fit(config, folder=tmp_path, progress=False)
    pools: list[PatchPool] = []
    for task, snapshot in zip(run.stream(), run):
        generator = torch.Generator().manual_seed(1000 * run.seed + task.index)
        pools.append(PatchPool.of(task.features, task.categories, generator))
        memory = snapshot.memory()
        n_levels, n_classes = len(run.features.dims), len(snapshot.categories)
        assert set(memory) == {
            f"{name}{i}" for name in ("x", "cells", "counts") for i in range(n_levels)
        }
        for i, dim in enumerate(run.features.dims):
            each = BUDGET["budget_bytes"] / n_levels / n_classes - 8
            size = dim * pools[0].x[i].element_size() + 2
            quota = int(each // size)
            for name, columns in (
                ("x", [pool.x[i] for pool in pools]),
                ("cells", [pool.cells[i] for pool in pools]),
            ):
                parts = [
                    part[:quota]
                    for pool, column in zip(pools, columns)
                    for part in column.split(pool.counts[i].tolist())
                ]
                assert torch.equal(memory[f"{name}{i}"], torch.cat(parts))


def test_a_share_without_a_ratio_is_of_the_classes_that_are_there(tiny, tmp_path):
    run = fit(
        of(tiny, "flow", "replay").replace(options={"ratio": None}),
        folder=tmp_path,
        progress=False,
    )
    strategy = new_strategy(run.config)
    strategy.memory.update(run[1].memory())
    last = run.stream()[2]
    present = set(last.features.categories)
    rehearsal = strategy.rehearse(run[1].model(), last)
    assert rehearsal.share == pytest.approx(6 / (6 + len(present)))
    assert rehearsal.pool.n_classes == 6 and len(present) == 4


def test_a_strategy_of_ones_own_needs_boundaries_until_it_says_otherwise(
    tiny, tmp_path, monkeypatch
):
    class Own(Strategy):
        pass

    class Free(Own):
        needs_boundaries = False

    monkeypatch.setitem(STRATEGIES, "own", Own)
    config = tiny.replace(strategy="own", stream=BLURRED)
    with pytest.raises(ValueError, match="got 'own', which needs them"):
        fit(config, folder=tmp_path, progress=False)
    monkeypatch.setitem(STRATEGIES, "own", Free)
    assert len(fit(config, folder=tmp_path, progress=False)) == 3
