"""Layers that one task has of its own before and after the flow."""

__all__ = ["remove_layers_", "surround_"]

import dataclasses

import torch
from torch import nn

from cl_flow.devices import seeded
from cl_flow.model.flow import FlowModel, couplings
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
            if align:
                level.before = InputAlignment(level.dim).to(level.codes)
            if n_couplings:
                shape = dataclasses.replace(
                    model.config, n_blocks=n_couplings, hidden=level.dim
                )
                after = couplings(level.dim, shape, seed=None)
                _still_(after, n_couplings)
                level.after = after.to(level.codes)


def remove_layers_(model: FlowModel) -> None:
    """Take away what `surround_` has put there."""
    for level in model.levels:
        level.before = level.after = None


@torch.no_grad()
def _still_(after: nn.Module, n: int) -> None:
    """Let n couplings give what they get, and learn by their subnets alone.

    Each turns the order of the channels round, so that the halves take turns; the last
    of an odd number lets it be.
    """
    for name, parameter in after.named_parameters():
        if ".outer." in name:
            parameter.zero_()
        if ".global_" in name:
            parameter.requires_grad_(False)
    if n % 2:
        rotation = after.get_buffer(f"module_list.{n - 1}.rotation")
        rotation.copy_(torch.eye(len(rotation)))
