"""Training lowers the loss, draws what its seed says, and touches nothing that is
frozen.
"""

import dataclasses

import numpy as np
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.training.config import TrainConfig
from cl_flow.training.loop import rate_share, train

CONFIG = TrainConfig(epochs=8, batch_images=4, batch_patches=5, lr=3e-3)


def build(data: Features) -> FlowModel:
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16)
    return FlowModel(data.dims, data.grids, config).expand_(["a", "b"])


def test_losses_fall_and_are_reported_by_epoch_level_and_term(data):
    losses = train(build(data), data, CONFIG, progress=False)
    assert list(losses.columns) == ["epoch", "level", "term", "value"]
    g = losses[losses["term"] == "mi"].pivot(
        index="epoch", columns="level", values="value"
    )
    assert (g.iloc[-1] > g.iloc[0] + 0.3).all()
    assert set(losses["term"]) == {"g", "mi", "entropy", "intra", "z"}
    early = train(
        build(data), data, dataclasses.replace(CONFIG, inter_only=0.5), progress=False
    )
    assert set(early.loc[early["term"] == "intra", "epoch"]) == {4, 5, 6, 7}


@pytest.mark.parametrize("patches", [None, 5, 9, 100])
def test_same_seed_same_weights_other_seed_other_weights(data, patches):
    config = dataclasses.replace(CONFIG, epochs=2, batch_patches=patches)
    models = [build(data) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1)):
        train(model, data, config, seed=seed, progress=False)
    first, again, other = (
        torch.cat([p.flatten() for p in model.parameters()]) for model in models
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_whole_images_and_all_patches_are_the_same_step(data):
    models = [build(data), build(data)]
    for model, patches in zip(models, (None, 9)):
        train(
            model,
            data,
            dataclasses.replace(CONFIG, epochs=1, batch_patches=patches),
            progress=False,
        )
    for whole, drawn in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(whole, drawn)


def test_what_is_frozen_keeps_its_bits(data):
    model = build(data).expand_(["new"])
    for level in model.levels:
        level.mixture.freeze_old_()
        level.flow[0].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, data, dataclasses.replace(CONFIG, weight_decay=0.1), progress=False)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    moved = {
        name for name, p in model.named_parameters() if not torch.equal(p, before[name])
    }
    assert frozen and not frozen & moved
    assert any("flow.module_list.1" in name for name in moved) and any(
        "_mu.1" in name for name in moved
    )


def test_a_penalty_is_added_and_reported(data):
    model = build(data)
    anchor = [p.detach().clone() for p in model.parameters()]

    def stay(model, batch, latents):
        assert [z.shape for z, _ in latents] == [x.shape for x in batch.x]
        return 1e4 * sum(
            (p - a).square().sum() for p, a in zip(model.parameters(), anchor)
        )

    losses = train(model, data, CONFIG, penalty=stay, progress=False)
    held = sum(
        (p - a).square().sum().item() for p, a in zip(model.parameters(), anchor)
    )
    free = build(data)
    train(free, data, CONFIG, progress=False)
    assert held < 0.1 * sum(
        (p - a).square().sum().item() for p, a in zip(free.parameters(), anchor)
    )
    assert (losses.loc[losses["term"] == "penalty", "level"] == -1).all()


def test_a_watch_sees_every_step_and_changes_nothing(data):
    config = dataclasses.replace(CONFIG, epochs=2)
    seen, models = {}, [build(data), build(data)]

    def look(step, model):
        seen[step] = model.levels[0].flow[0].outer.bias.sum().item()

    train(models[0], data, config, progress=False)
    train(models[1], data, config, watch=look, progress=False)
    assert list(seen) == list(range(9)) and len(set(seen.values())) == 9
    assert all(
        torch.equal(a, b)
        for a, b in zip(models[0].parameters(), models[1].parameters())
    )


def test_no_epochs_is_no_training(data):
    model = build(data)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert train(
        model, data, dataclasses.replace(CONFIG, epochs=0), progress=False
    ).empty
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_broken_loss_is_named(data):
    model = build(data)
    model.levels[1].mixture.blocks()[0]["mu"].data[:] = torch.nan
    with pytest.raises(
        FloatingPointError, match="of level 1.*in epoch 0. Lower the rate"
    ):
        train(model, data, CONFIG, progress=False)


def test_wrong_input_is_named(data):
    with pytest.raises(ValueError, match="got 0 images"):
        train(build(data), data.take([]), CONFIG, progress=False)
    with pytest.raises(ValueError, match="batch_images=….* 1 or more; got 0"):
        train(
            build(data),
            data,
            dataclasses.replace(CONFIG, batch_images=0),
            progress=False,
        )
    with pytest.raises(KeyError, match="No center for b; known: a"):
        train(build(data).fresh().expand_(["a"]), data, CONFIG, progress=False)


# ---- the rate


def rates(config: TrainConfig, n_steps: int) -> np.ndarray:
    return config.lr * np.array(
        [rate_share(i, n_steps, config) for i in range(n_steps)]
    )


def test_in_stairs_the_rate_is_that_of_hgads_meta_epochs():
    """The numbers of HGAD's own schedule: 5 meta-epochs of 2 passes, 2 of warm-up."""
    per_pass = 81
    config = TrainConfig(epochs=10, staircase=5, warmup=0.4, inter_only=0.4)
    by_stair = rates(config, 10 * per_pass).reshape(5, 2 * per_pass)
    for stair, rate in ((2, 1.31e-4), (3, 6.92e-5), (4, 1.93e-5)):
        assert by_stair[stair] == pytest.approx(rate, rel=5e-3)
    end = 1.31e-4  # the warm-up ends where the third stair begins
    steps = np.arange(4 * per_pass)
    expected = 2e-5 + (end - 2e-5) * steps / len(steps)
    assert by_stair[:2].ravel() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("n_steps", [7, 100, 243])
def test_as_many_stairs_as_steps_are_smooth(n_steps):
    smooth = TrainConfig()
    stairs = dataclasses.replace(smooth, staircase=n_steps)
    assert rates(stairs, n_steps) == pytest.approx(rates(smooth, n_steps), abs=1e-18)
    falling = rates(smooth, n_steps)[int(smooth.warmup * n_steps) + 1 :]
    assert (np.diff(falling) < 0).all() and len(set(rates(stairs, n_steps))) == n_steps


def test_stairs_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="staircase=….* 1 or more; got 0"):
        TrainConfig(staircase=0)


def test_a_rewiring_takes_the_place_of_adam(data):
    config = dataclasses.replace(CONFIG, epochs=2)
    asked, gradients = [], []
    model = build(data)
    weight = model.levels[0].flow[0].inner_weight

    def rewire(step, n_steps):
        asked.append((step, n_steps, weight.detach().clone()))
        return look if step in (1, 2) else None

    def look():
        gradients.append(weight.grad.clone())
        return {}

    train(model, data, config, rewire=rewire, progress=False)
    n_steps = len(asked)
    assert [one[:2] for one in asked] == [(step, n_steps) for step in range(n_steps)]
    moved = [not torch.equal(a[2], b[2]) for a, b in zip(asked, asked[1:])]
    assert moved == [step not in (1, 2) for step in range(n_steps - 1)]
    assert len(gradients) == 2 and all(grad.any() for grad in gradients)
