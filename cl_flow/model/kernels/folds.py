"""Weights of coupling blocks as few products take them, and gradients of the rest."""

__all__ = [
    "Block",
    "Folds",
    "blocks_of",
    "learners",
    "offset_gradient",
    "patches_first",
    "scale_gradient",
]

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Block(NamedTuple):
    """Weights that one coupling block computes with.

    Args:
        inner: Weights of the first layer on the patch (hidden, ⌈D/2⌉).
        position: Weights of the first layer on the position code (hidden, P).
        inner_bias: Bias of the first layer (hidden,).
        outer: Weights of the second layer (2·⌊D/2⌋, hidden).
        outer_bias: Bias of the second layer (2·⌊D/2⌋,).
        scale: Parameter g of the scale s = softplus(g/2)/5 (D,).
        offset: Offset o (D,).
        rotation: Orthogonal matrix R (D, D), not learned.
    """

    inner: Tensor
    position: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor
    scale: Tensor
    offset: Tensor
    rotation: Tensor


def blocks_of(weights: Sequence[Tensor]) -> list[Block]:
    """Blocks of all their weights in a row, as autograd takes them."""
    n = len(Block._fields)
    return [Block(*weights[i : i + n]) for i in range(0, len(weights), n)]


def learners(needs: Sequence[bool]) -> tuple[bool, list[bool], int]:
    """Whether the input and each block want a gradient, and the first that is reached.

    Args:
        needs: Of (x, table, index, clamp, keep, *weights), as autograd tells them.
    """
    n = len(Block._fields)
    of_input = needs[0]
    learns = [any(needs[i : i + n - 1]) for i in range(5, len(needs), n)]
    return of_input, learns, 0 if of_input else learns.index(True)


class Folds(NamedTuple):
    """Last steps of all n blocks, as few products and sums as they can be.

    Args:
        bias: A tenth of the outer bias (n, 2·⌊D/2⌋, 1).
        raw: Parameter g of the scale (n, D).
        scale: s (n, D).
        turn: R·diag(s), its columns in the order [x₂ | x₁] (n, D, D).
        push: R·o (n, D, 1).
    """

    bias: Tensor
    raw: Tensor
    scale: Tensor
    turn: Tensor
    push: Tensor

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "Folds":
        bias = torch.stack([block.outer_bias for block in blocks])
        bias = bias.mul_(0.1)[:, :, None]
        raw = torch.stack([block.scale for block in blocks])
        offset = torch.stack([block.offset for block in blocks])
        rotation = torch.stack([block.rotation for block in blocks])
        scale = F.softplus(raw, beta=0.5).mul_(0.1)
        split = blocks[0].inner.shape[1]
        turn = (rotation * scale[:, None]).roll(-split, 2)
        push = rotation @ offset[:, :, None]
        return cls(bias, raw, scale, turn, push)


def patches_first(columns: Tensor) -> Tensor:
    """Patches first, in memory of their own."""
    return columns.T.clone(memory_format=torch.contiguous_format)


def scale_gradient(
    products: Tensor, dlog_det: Tensor, raw: Tensor, scale: Tensor, split: int
) -> Tensor:
    """Gradient of g (n, D), through s = softplus(g/2)/5."""
    slope = torch.sigmoid(0.5 * raw).mul_(0.1)
    dscale = products.roll(split, 1)
    dscale.add_(dlog_det.sum())
    return dscale.div_(scale).mul_(slope)


def offset_gradient(pushes: Tensor, turn: Tensor, scale: Tensor, split: int) -> Tensor:
    """Gradient of o (n, D), through R·o."""
    pulled = turn.mT @ pushes[:, :, None]
    return pulled[:, :, 0].roll(split, 1).div_(scale)
