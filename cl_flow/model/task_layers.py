"""Layers that one task has of its own before and after the flow."""

__all__ = ["remove_layers_", "surround_"]

import dataclasses

import torch
from torch import nn

from cl_flow.devices import seeded
from cl_flow.model.flow import FlowModel, Level, couplings
from cl_flow.model.input_alignment import InputAlignment


def surround_(
    model: FlowModel,
    *,
    align: bool,
    n_couplings: int,
    seed: int = 0,
) -> None:
    """Put a task's own layers around the flow of every level; they change nothing yet.

    Args:
        model: The model.
        align: Whether an `InputAlignment` comes before the flow.
        n_couplings: Couplings after the flow; their subnets are D wide.
        seed: Of the inner weights of these subnets.
    """
    with seeded(seed):
        for level in model.levels:
            device = level.codes.device
            if align:
                level.before = InputAlignment(level.dim).to(device)
            if n_couplings:
                level.after = _identity(level, model, n_couplings).to(device)


def remove_layers_(model: FlowModel) -> None:
    """Take away what `surround_` has put there."""
    for level in model.levels:
        level.before = level.after = None


@torch.no_grad()
def _identity(level: Level, model: FlowModel, n: int) -> nn.Module:
    """Couplings that give what they get, and learn by their subnets alone.

    Each turns the order of the channels round, so that the halves take turns; the last
    of an odd number lets it be.
    """
    config = dataclasses.replace(model.config, n_blocks=n, hidden=level.dim)
    after = couplings(level.dim, config, seed=None)
    for block in after:
        block.outer.weight.zero_()
        block.outer.bias.zero_()
        block.global_scale.requires_grad_(False)
        block.global_offset.requires_grad_(False)
    if n % 2:
        after[-1].rotation.copy_(torch.eye(level.dim))
    return after
