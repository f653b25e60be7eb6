"""Input alignment: every channel of a task's patches is scaled and shifted."""

__all__ = ["InputAlignment"]

import math

import torch
from torch import Tensor, nn


class InputAlignment(nn.Module):
    r"""Scale and shift of every channel of a task's patches.

    $$ x' = \gamma \odot x + \beta, \quad \gamma = 2^{\tanh a}, \quad
       \beta = 2 \tanh b. $$
    At first it is the identity, to the bit.

    References:
        DeCoFlow (2026), which bounds both alike
        https://arxiv.org/abs/2606.26687

    Args:
        dim: Channels D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x' (N, D) and log |det ∂x'/∂x| = Σ ln γ, the same for all patches."""
        log_scale = self._log_scale()
        aligned = log_scale.exp() * x + 2 * self.shift.tanh()
        return aligned, log_scale.sum()

    def inverse(self, aligned: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) and log |det ∂x/∂x'| of aligned patches."""
        log_scale = self._log_scale()
        x = (aligned - 2 * self.shift.tanh()) / log_scale.exp()
        return x, -log_scale.sum()

    def _log_scale(self) -> Tensor:
        return math.log(2) * self.scale.tanh()
