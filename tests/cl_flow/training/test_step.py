"""A step that a GPU records is the step that Python takes."""

import dataclasses

import numpy as np
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel
from cl_flow.training import batches
from cl_flow.training.batches import Loader, Rehearsal
from cl_flow.training.config import TrainConfig
from cl_flow.training.loop import train
from cl_flow.training.step import Step
from tests.cl_flow.training.test_loop import build as built
from tests.devices import DEVICES, GPU

CONFIG = TrainConfig(epochs=6, batch_images=4, batch_patches=5, lr=3e-3, inter_only=0.4)
WHOLE = dataclasses.replace(CONFIG, batch_patches=None)


def build(data: Features, device: str) -> FlowModel:
    return built(data).to(device)


def rehearsal(data: Features, device: str, **options) -> Rehearsal:
    generator = torch.Generator().manual_seed(5)
    pool = PatchPool.of(data, ["a", "b"], generator).to(torch.device(device))
    return Rehearsal(0.5, pool, **options)


def weights(model: FlowModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


# ---- batches


@pytest.mark.parametrize("patches", [None, 5, 9])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_batches_are_the_same_on_every_device_from_memory_and_from_file(
    data, monkeypatch, device, mixed, patches
):
    config = dataclasses.replace(CONFIG, epochs=3, batch_patches=patches)

    def drawn(where: str) -> list:
        more = rehearsal(data, where, taught=False) if mixed else None
        loader = Loader(build(data, where), data, config, more, seed=7)
        out = []
        for epoch in loader.epochs():
            for batch in epoch:
                index = [None if c is None else c.cpu() for c in batch.index]
                x = [values.cpu() for values in batch.x]
                out.append((x, index, batch.y.cpu(), batch.own, batch.taught))
            loader.draw_ahead()
        return out

    expected = drawn("cpu")
    assert len(expected) == 3 * (8 if mixed else 4)
    for limit in (1 << 30, 0):
        monkeypatch.setattr(batches, "_memory", lambda *_, limit=limit: limit)
        for got, right in zip(drawn(device), expected, strict=True):
            assert got[3:] == right[3:] and torch.equal(got[2], right[2])
            assert all(map(torch.equal, got[0], right[0]))
            for cells, own in zip(got[1], right[1]):
                assert cells is own or torch.equal(cells, own)


def test_a_batch_tells_its_rehearsed_patches_and_only_taught_ones_are_learnt(data):
    known, losses = [], []
    for taught in (True, False):
        model = build(data, "cpu")
        more = rehearsal(data, "cpu", taught=taught)
        batch = next(next(Loader(model, data, CONFIG, more, seed=7).epochs()))
        rehearsed = batch.rehearsal()
        known.append((rehearsed.x[0], rehearsed.y))
        assert len(rehearsed.y) == len(batch.y) - batch.own > 0
        step = Step(model, CONFIG, None)
        step(batch, 0.0, intra=False)
        losses.append(step.read()[0, "g"])
    patches, of_images = zip(*known)
    assert torch.equal(*patches) and torch.equal(*of_images)
    same = patches[0][:, None] == more.pool.x[0].float()
    assert same.all(-1).any(1).all()
    assert losses[0] != losses[1]


def test_a_pass_drawn_ahead_is_the_pass_that_would_be_drawn(data):
    firsts = []
    for draws in (True, False):
        loader = Loader(build(data, "cpu"), data, CONFIG, None, seed=1)
        passes = []
        for epoch in loader.epochs():
            passes.append([batch.x[0] for batch in epoch])
            if draws:
                loader.draw_ahead()
        firsts.append(torch.stack([torch.stack(one) for one in passes]))
    assert torch.equal(*firsts) and len(firsts[0].unique(dim=0)) == CONFIG.epochs


# ---- steps


@pytest.mark.parametrize("device", DEVICES)
def test_losses_are_means_over_the_steps_that_had_them(data, device):
    model = build(data, device)
    loader = Loader(model, data, CONFIG, None, seed=0)
    step, alone = Step(model, CONFIG, None), []
    one = Step(build(data, device), CONFIG, None)
    for epoch in loader.epochs():
        for i, batch in enumerate(epoch):
            step(batch, 1e-3, intra=i > 1)
            one(batch, 1e-3, intra=i > 1)
            alone.append(one.read())
        break
    means = step.read()
    assert {level for level, _ in means} == {0, 1} and step.read() == {}
    for key, value in means.items():
        own = [losses[key] for losses in alone if key in losses]
        assert len(own) == (2 if key[1] in ("intra", "z") else 4)
        assert value == pytest.approx(np.mean(own), rel=1e-5)


def trained(data, config, device="cuda", **options) -> tuple[torch.Tensor, np.ndarray]:
    model = build(data, device)
    losses = train(model, data, config, progress=False, **options)
    return weights(model), losses["value"].to_numpy()


def pull(model, batch, latents):
    return sum((z * batch.y.float().mean()).square().mean() for z, _ in latents)


@pytest.mark.parametrize("config", [CONFIG, WHOLE], ids=["drawn", "whole"])
@pytest.mark.parametrize("penalty", [None, pull], ids=["plain", "penalty"])
@pytest.mark.parametrize("mixed", [None, True, False])
@pytest.mark.parametrize("device", [GPU])
def test_a_recorded_step_is_the_step_itself(data, config, penalty, mixed, device):
    more = None if mixed is None else rehearsal(data, device, taught=mixed)
    options = {"penalty": penalty, "rehearsal": more}
    recorded, again, eager = (
        trained(data, config, capturable=capturable, **options)
        for capturable in (True, True, False)
    )
    assert torch.equal(recorded[0], again[0]), "bits are kept on a device"
    torch.testing.assert_close(recorded[0], eager[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(recorded[1], eager[1], rtol=1e-6, atol=1e-6)
    on_cpu = trained(
        data,
        config,
        "cpu",
        penalty=penalty,
        rehearsal=None if mixed is None else rehearsal(data, "cpu", taught=mixed),
    )
    np.testing.assert_allclose(recorded[1], on_cpu[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("device", [GPU])
def test_what_is_frozen_or_changed_midway_is_recorded_anew(data, device):
    def freeze(model: FlowModel) -> None:
        model.levels[0].flow.requires_grad_(False)

    both = []
    for capturable in (True, False):
        model = build(data, device)
        train(model, data, CONFIG, midway=freeze, capturable=capturable, progress=False)
        both.append(weights(model))
    torch.testing.assert_close(*both, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", [GPU])
def test_a_watch_sees_the_model_between_replays(data, device):
    seen = {True: [], False: []}
    for capturable, values in seen.items():
        trained(
            data,
            CONFIG,
            capturable=capturable,
            watch=lambda step, model, values=values: values.append(weights(model)),
        )
    assert len(seen[True]) == 25 and len({x.sum().item() for x in seen[True]}) == 25
    for recorded, eager in zip(seen[True], seen[False]):
        torch.testing.assert_close(recorded, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", [GPU])
def test_a_penalty_that_waits_is_refused_with_the_way_out(data, device):
    def waits(model, batch, latents):
        z, _ = latents[0]
        return z.mean() * z.max().item()

    with pytest.raises(RuntimeError, match="`capturable = False` is trained step by"):
        trained(data, CONFIG, penalty=waits)
    trained(data, CONFIG, penalty=waits, capturable=False)


@pytest.mark.parametrize("device", [GPU])
def test_a_broken_loss_is_named_on_a_gpu_too(data, device):
    model = build(data, device)
    model.levels[1].mixture.blocks()[0]["mu"].data[:] = torch.nan
    with pytest.raises(FloatingPointError, match="of level 1.*in epoch 0"):
        train(model, data, CONFIG, progress=False)
