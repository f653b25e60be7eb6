"""Interference: one and the same class agrees with itself, classes with weights of their
own do not meet, and the cost is that of a step.
"""

import pytest
import torch
from torch import nn

from analysis.witnesses import measure_interference, plot_interference
from analysis.witnesses.measure_classes import flow_losses, interference
from cl_flow import fit


def asked(run):
    """A model of a run, the loss of its classes, and the weights that they share."""
    model = run[-1].model()
    images = run.features.where(split="train", label=0)
    loss = flow_losses(model, images, run.config.train.losses)
    shared = [w for level in model.levels for w in level.flow.parameters()]
    return model, loss, shared


def test_two_classes_with_the_same_images_are_one(run):
    _, loss, shared = asked(run)
    found = interference(lambda name: loss("bee"), shared, ["bee", "twin"])
    assert found["cosine"].tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert (found["cost"] < 0).all() and found["cost"].nunique() == 1


def test_classes_on_parameters_of_their_own_do_not_meet():
    weights = {name: nn.Parameter(torch.randn(5)) for name in ("one", "two")}
    found = interference(
        lambda name: weights[name].square().sum(), list(weights.values()), list(weights)
    ).set_index(["category", "other"])
    for pair in (("one", "two"), ("two", "one")):
        assert found.loc[pair].tolist() == [0.0, 0.0]
    assert found.loc[("one", "one"), "cosine"] == pytest.approx(1.0)
    assert found.loc[("one", "one"), "cost"] < 0


def test_classes_that_want_opposite_things_harm_each_other():
    weight = nn.Parameter(torch.tensor([3.0, 0.0]))
    signs = {"up": 1.0, "down": -1.0}
    found = interference(lambda name: signs[name] * weight[1], [weight], list(signs))
    assert found["cosine"].tolist() == [1.0, -1.0, -1.0, 1.0]
    assert found["cost"].tolist() == pytest.approx([-3e-4, 3e-4, 3e-4, -3e-4])
    assert weight.tolist() == [3.0, 0.0], "it is where it was"


def test_a_class_without_a_gradient_has_no_cosine_and_costs_nothing():
    weight = nn.Parameter(torch.ones(2))
    found = interference(
        lambda name: (weight * (name == "learns")).sum(), [weight], ["learns", "rests"]
    ).set_index(["category", "other"])
    assert found.loc[("rests", "learns"), "cost"] == 0
    assert found.loc[("rests", "learns")].isna().tolist() == [True, False]


def test_cosine_and_cost_are_those_of_the_losses_of_a_flow(run):
    model, loss, shared = asked(run)
    before = [weight.detach().clone() for weight in shared]
    names, distance = ["ant", "fox"], 1e-5
    found = interference(loss, shared, names, distance=distance)
    assert all(torch.equal(a, b) for a, b in zip(shared, before))
    one, two = (
        torch.cat([g.flatten() for g in torch.autograd.grad(loss(name), shared)])
        for name in names
    )
    pair = found.set_index(["category", "other"]).loc[("ant", "fox")]
    expected = nn.functional.cosine_similarity(one, two, dim=0).item()
    assert pair["cosine"] == pytest.approx(expected, abs=1e-5)
    size = torch.cat([weight.flatten() for weight in before]).norm()
    along = (-distance * size * one @ two / one.norm()).item()
    assert pair["cost"] == pytest.approx(along, rel=0.05, abs=2e-5)


def test_the_loss_is_that_of_training(run):
    """With all images of one class in a batch, to rounding."""
    from cl_flow.data.patches import Batch
    from cl_flow.model.losses import hgad_total
    from cl_flow.training.step import Step

    model, loss, _ = asked(run)
    images = run.features.where(split="train", label=0, category="cat")
    x = [level.flatten(0, 1).float() for level in images.read()]
    batch = Batch(x, [None] * len(x), model.class_ids(["cat"] * len(images)))
    step = Step(model, run.config.train, None)
    terms = [step._losses(i, batch, True)[1] for i in range(len(x))]
    expected = sum(hgad_total(one, run.config.train.losses) for one in terms)
    torch.testing.assert_close(loss("cat"), expected)


def test_a_run_is_measured_and_drawn(run):
    table = measure_interference(run, n_images=3)
    assert len(table) == 36 and set(table["step"]) == {1}
    wide = table.pivot(index="category", columns="other", values="cosine").to_numpy()
    assert wide == pytest.approx(wide.T, abs=1e-5)
    assert wide.diagonal() == pytest.approx([1.0] * 6, abs=1e-5)
    ax = plot_interference(table)
    shown = [float(text.get_text()) for text in ax.texts]
    apart = [wide[i, j] for i in range(6) for j in range(6) if i != j]
    assert shown == pytest.approx(apart, abs=0.051)
    assert [text.get_text() for text in ax.get_yticklabels()] == list(run[1].categories)


def test_a_flow_that_depends_on_the_class_is_refused(tiny, tmp_path):
    run = fit(tiny.replace(strategy="packnet"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="one flow for all classes"):
        measure_interference(run)
