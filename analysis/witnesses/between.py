"""Models between two models, and their hidden units matched."""

__all__ = ["between", "match_units"]

import copy
from typing import cast

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cl_flow.model.flow import FlowModel
from cl_flow.model.kernels import Block

VALUES = ("mu", "delta", "phi", "psi")


@torch.no_grad()
def between(start: FlowModel, end: FlowModel, share: float) -> FlowModel:
    """Model on the straight line from one to another: (1 − a) θ + a θ'.

    Args:
        start: The model at a = 0.
        end: One with the same shape, rotations and classes, at a = 1.
        share: How far to go, a.

    Raises:
        ValueError: The two differ in their rotations or classes, or have frames.
    """
    _refuse_other_kind(start, end)
    model = copy.deepcopy(start)
    for level, one, other in zip(model.levels, start.levels, end.levels):
        ours, theirs = one.flow.state_dict(), other.flow.state_dict()
        mixed = {name: ours[name].lerp(theirs[name], share) for name in ours}
        level.flow.load_state_dict(mixed)
        pairs = {
            n: (getattr(one.mixture, n), getattr(other.mixture, n)) for n in VALUES
        }
        values = {name: a.lerp(b, share) for name, (a, b) in pairs.items()}
        level.mixture = one.mixture.replace(**values)
    return model


@torch.no_grad()
def match_units(model: FlowModel, other: FlowModel) -> FlowModel:
    """Copy whose hidden units stand in the order of another model's.

    It computes the same function. In each block the order is the one in which the
    weights of the two have the largest inner product.

    References:
        Git Re-Basin: Merging Models modulo Permutation Symmetries (Ainsworth et al.,
        2022)
        https://arxiv.org/abs/2209.04836

    Args:
        model: The model to reorder.
        other: One of the same shape.
    """
    model = copy.deepcopy(model)
    for block, target in zip(_blocks(model), _blocks(other)):
        alike = _units(target) @ _units(block).T
        _, order = linear_sum_assignment(alike.cpu().numpy(), maximize=True)
        _reorder_(block, torch.as_tensor(order).to(block.inner.device))
    return model


def _blocks(model: FlowModel) -> list[Block]:
    """Weights of all coupling blocks, level after level."""
    return [cast("Block", one.block) for level in model.levels for one in level.flow]


def _units(block: Block) -> Tensor:
    """All weights of each hidden unit (hidden, n)."""
    bias = block.inner_bias[:, None]
    parts = [block.inner, block.position, bias, block.outer.T]
    return torch.cat(parts, dim=1).double()


def _reorder_(block: Block, order: Tensor) -> None:
    """Put the hidden units of a block into another order."""
    for values in (block.inner, block.position, block.inner_bias):
        values.copy_(values[order])
    block.outer.copy_(block.outer[:, order])


def _refuse_other_kind(start: FlowModel, end: FlowModel) -> None:
    same_turns = all(
        torch.equal(one.rotation, other.rotation)
        for one, other in zip(_blocks(start), _blocks(end), strict=True)
    )
    if start.categories != end.categories or not same_turns:
        raise ValueError(
            "Expected two models with the same rotations and classes, as two trainings "
            f"from one model have them; got {start.categories} and {end.categories}, "
            f"rotations {'the same' if same_turns else 'others'}."
        )
    mixtures = [level.mixture for model in (start, end) for level in model.levels]
    if any(mixture.frames is not None for mixture in mixtures):
        raise ValueError(
            "Expected models without frames, which have no straight line between them; "
            "got one whose classes have frames, fitted or learned."
        )
