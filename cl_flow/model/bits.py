"""Masks as bits, eight of them in a byte."""

__all__ = ["packed", "unpacked"]

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PLACES = (1, 2, 4, 8, 16, 32, 64, 128)


def packed(mask: Tensor) -> Tensor:
    """Bits of a mask of n elements in rows, the first one lowest: (⌈n/8⌉,), uint8.

    Example:
        >>> packed(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)
    """
    bits = F.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8))
    return (bits.view(-1, 8) * _places(mask)).sum(1, dtype=torch.uint8)


def unpacked(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """Mask of a shape from its bits, as `packed` gives them."""
    mask = (bits[:, None] & _places(bits)) > 0
    return mask.flatten()[: torch.Size(shape).numel()].view(torch.Size(shape))


def _places(like: Tensor) -> Tensor:
    return torch.tensor(PLACES, dtype=torch.uint8, device=like.device)
