"""It moves as torch's own Adam does."""

import pytest
import torch
from torch import nn

from cl_flow.model.kernels.adam import FusedAdam

SHAPES = [(3, 4), (5,), (), (2, 3)]


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def grad(parameter: nn.Parameter, step: int) -> torch.Tensor:
    return (parameter.detach() * (step + 1)).sin()


def run(
    step, ours: list[nn.Parameter], *, late: int | None = None, replace: bool = False
) -> list[torch.Tensor]:
    """Five steps; the last parameter has no gradient before step `late`."""
    for t in range(5):
        for i, parameter in enumerate(ours):
            if late is not None and i == len(ours) - 1 and t < late:
                continue
            value = grad(parameter, t)
            if parameter.grad is None or replace:
                parameter.grad = value
            else:
                parameter.grad.add_(value)
        step(1e-2 / (t + 1))
    return [parameter.detach().clone() for parameter in ours]


def expected(late: int | None) -> list[torch.Tensor]:
    theirs = parameters()
    groups = [
        {"params": theirs[:2], "weight_decay": 0.1},
        {"params": theirs[2:], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.95, 0.99))

    def step(lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()

    return run(step, theirs, late=late)


@pytest.mark.parametrize("late", [None, 2])
@pytest.mark.parametrize("replace", [True, False])
def test_it_is_adam(late, replace):
    ours = parameters()
    groups = [
        {"params": ours[:2], "weight_decay": 0.1},
        {"params": ours[2:], "weight_decay": 0.0},
    ]
    moved = run(
        FusedAdam(groups, betas=(0.95, 0.99)).step, ours, late=late, replace=replace
    )
    for a, b in zip(moved, expected(late)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_gradients_of_before_are_forgotten_and_none_is_left():
    ours = parameters()
    for parameter in ours:
        parameter.grad = torch.full_like(parameter, 7.0)
    optimizer = FusedAdam([{"params": ours, "weight_decay": 0.0}], betas=(0.9, 0.99))
    optimizer.step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(ours, parameters()))
    run(optimizer.step, ours)
    assert all(parameter.grad is None and parameter._base is None for parameter in ours)
    assert len({parameter.untyped_storage().data_ptr() for parameter in ours}) == len(
        ours
    )


def test_elements_that_begin_anew_move_as_if_new_and_the_others_as_before():
    ours, theirs = parameters(), parameters()
    pair = [
        FusedAdam([{"params": group, "weight_decay": 0.0}], betas=(0.9, 0.99))
        for group in (ours, theirs)
    ]
    for group, optimizer in zip((ours, theirs), pair):
        run(optimizer.step, group)
    for parameter in ours:
        parameter.grad = torch.ones_like(parameter)
    where = torch.zeros(3, 4, dtype=torch.bool)
    where[1] = True
    before = [parameter.detach().clone() for parameter in ours]
    pair[0].restart({ours[0]: where})
    assert all(torch.equal(a, b) for a, b in zip(ours, before))
    assert all(parameter.grad is None for parameter in ours)
    for group, optimizer in zip((ours, theirs), pair):
        for parameter in group:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step(1e-2)
    assert torch.equal(ours[0][where], before[0][where]), "no momentum is left there"
    assert torch.equal(ours[0][~where], theirs[0][~where])
    assert all(torch.equal(a, b) for a, b in zip(ours[1:], theirs[1:]))
    assert not torch.equal(theirs[0][where], before[0][where])
