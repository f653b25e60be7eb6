"""Latents on their way: what each coupling block makes of patches."""

__all__ = ["block_outputs"]

from collections.abc import Iterator

import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowModel
from cl_flow.model.positions import Positions
from cl_flow.scoring.latents import refuse_several_flows

BATCH = 32  # images at a time


@torch.inference_mode()
def block_outputs(model: FlowModel, features: Features, level: int) -> Iterator[Tensor]:
    """Outputs of a level's coupling blocks, one after the other.

    The first are the features themselves, the last the latents.

    Args:
        model: With one flow for all classes.
        features: The images.
        level: Index of the feature level.

    Yields:
        After b = 0, 1, … blocks (images, S, D), on the CPU.

    Raises:
        ValueError: The flow depends on the class.
    """
    refuse_several_flows(model)
    codes = model.levels[level].codes
    stored = features.levels[level][features.rows]
    h = torch.from_numpy(stored).to(codes.dtype)
    yield h
    for block in model.levels[level].flow:
        parts = [_through(block, some, codes) for some in h.split(BATCH)]
        h = torch.cat(parts)
        yield h


def _through(block: torch.nn.Module, h: Tensor, codes: Tensor) -> Tensor:
    """Images (n, S, D) behind one block."""
    patches = h.flatten(0, 1).to(codes.device)
    (out,), _ = block((patches,), c=[Positions(codes)])
    return out.view(h.shape).cpu()
