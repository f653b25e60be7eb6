"""Layers of one task: they begin as the identity, and have the determinant they say."""

import copy

import pytest
import torch

from cl_flow.model.class_views import views
from cl_flow.model.flow import FlowConfig, FlowModel, trainable
from cl_flow.model.task_layers import remove_layers_, surround_

LAYERS = [(True, 0), (False, 1), (False, 2), (True, 3)]
each_layers = pytest.mark.parametrize(("align", "n_couplings"), LAYERS)


def models(align: bool, n_couplings: int, dim: int = 5) -> tuple[FlowModel, FlowModel]:
    """A model, and the same with new layers around its flow."""
    config = FlowConfig(n_blocks=2, n_components=3, position_dim=4, hidden=8)
    bare = FlowModel([dim], [(2, 2)], config).expand_(2)
    model = copy.deepcopy(bare)
    surround_(model, align=align, n_couplings=n_couplings, seed=3)
    return bare, model


def stirred(model: FlowModel) -> FlowModel:
    generator = torch.Generator().manual_seed(1)
    for level in model.levels:
        for parameter in [p for p in level.parameters() if p.requires_grad]:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


@each_layers
def test_new_layers_change_no_bit(align, n_couplings):
    bare, model = models(align, n_couplings)
    x = torch.randn(8, 5)
    for a, b in zip(bare.levels[0](x), model.levels[0](x)):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("float64")
@each_layers
def test_their_determinant_is_autograds_and_they_are_undone(align, n_couplings):
    model = stirred(models(align, n_couplings)[1])
    (level,) = model.levels
    x = torch.randn(4, 5)
    z, log_det = level(x)
    back, inverse_log_det = level.inverse(z)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(inverse_log_det, -log_det)
    index = torch.tensor([2])
    jacobian = torch.autograd.functional.jacobian(
        lambda patch: level(patch[None], index)[0][0], x[2]
    )
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_det[2])


@each_layers
def test_they_learn_and_reach_every_channel(align, n_couplings):
    bare, model = models(align, n_couplings, dim=6)
    stirred(model)
    new = [
        p
        for level in model.levels
        for layers in (level.before, level.after)
        if layers is not None
        for p in layers.parameters()
        if p.requires_grad
    ]
    learning = {
        p for group in trainable(model, weight_decay=0.0) for p in group["params"]
    }
    assert new and learning.issuperset(new)
    for level in (*bare.levels, *model.levels):
        level.flow.load_state_dict(bare.levels[0].flow.state_dict())
    x = torch.randn(4, 6)
    moved = (model.levels[0](x)[0] != bare.levels[0](x)[0]).any(0)
    first, second = moved.split([3, 3])
    assert second.all()
    assert first.all() == (n_couplings != 1), "a single coupling moves half of them"


def test_an_expansion_with_layers_of_its_own_has_them_in_its_view_alone():
    bare, model = models(align=True, n_couplings=2)
    model.expand_(1)
    stirred(model)
    trained = copy.deepcopy(model)
    model.own = {
        f"1/{name}": value.detach().clone()
        for name, value in model.named_parameters()
        if ".before." in name or ".after." in name
    }
    remove_layers_(model)
    (old, _), (new, classes) = views(model)
    assert classes.tolist() == [2]
    x = torch.randn(8, 5)
    for view, same in ((new, trained), (old, model)):
        for a, b in zip(view.levels[0](x), same.levels[0](x)):
            assert torch.equal(a, b)
    assert not torch.equal(old.levels[0](x)[0], new.levels[0](x)[0])
