"""What a user would run instead: FrEIA's stock blocks, the textbook losses, features anew in every epoch."""

__all__ = ["StockLevel", "stock_losses", "stock_step"]

import math
from collections.abc import Sequence

import FrEIA.framework
import FrEIA.modules
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_flow.flow import FlowConfig, Level


class StockLevel(nn.Module):
    """A stack of FrEIA's `AllInOneBlock` on patches with the position code concatenated, and HGAD's centers.

    Args:
        level: One of ours, whose weights it takes where the shapes allow.
        config: Shape of the flow.
        n_classes: Number of classes K.
    """

    def __init__(self, level: Level, config: FlowConfig, n_classes: int) -> None:
        super().__init__()
        self.flow = FrEIA.framework.SequenceINN(level.dim)
        for _ in range(config.n_blocks):
            self.flow.append(
                FrEIA.modules.AllInOneBlock,
                cond=0,
                cond_shape=(config.position_dim,),
                subnet_constructor=lambda n_in, n_out: nn.Sequential(
                    nn.Linear(n_in, config.hidden or 2 * n_in), nn.ReLU(), nn.Linear(config.hidden or 2 * n_in, n_out)
                ),
                affine_clamping=config.clamp,
                global_affine_type="SOFTPLUS",
                permute_soft=True,
            )
        self.mu = nn.Parameter(level.mixture.mu.detach().clone())
        self.delta = nn.Parameter(level.mixture.delta.detach().clone())
        self.phi, self.psi = nn.Parameter(torch.zeros(n_classes)), nn.Parameter(level.mixture.psi.detach().clone())
        self.codes = level.codes

    def forward(self, x: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and log-determinant of patches (N, D) at their grid cells (N,)."""
        return self.flow(x, c=[self.codes[cells]])


def stock_losses(level: StockLevel, z: Tensor, log_det: Tensor, y: Tensor, *, intra: bool) -> Tensor:
    """HGAD's objective as the textbook has it: distances from differences, class ids (N,) one-hot and smoothed."""
    n, dim = z.shape
    log_pi = level.phi.log_softmax(0)
    kernel = -0.5 * (z[:, None] - level.mu).square().sum(-1)
    g = -(torch.logsumexp(kernel + log_pi, 1) + log_det) / dim
    target = F.one_hot(y, len(level.mu)).float() * (1 - 0.02) + 0.02 / len(level.mu)
    mi = (target * ((kernel + log_pi.detach()).log_softmax(1) - log_pi.detach())).sum(1)
    p = kernel.softmax(1)
    total = g.mean() - 100.0 * mi.mean() - (p * kernel.log_softmax(1)).sum(1).mean()
    if not intra:
        return total
    offsets = torch.cat([torch.zeros(len(level.mu), 1, dim, device=z.device), level.delta], 1)
    centers = (level.mu.detach()[:, None] + offsets)[y]
    within = -0.5 * (z[:, None] - centers).square().sum(-1) + level.psi.log_softmax(1)[y]
    log_p = torch.logsumexp(within, 1) + log_det
    return total - log_p.mean() / dim - F.logsigmoid((log_p - 0.5 * dim * math.log(2 * math.pi)) / dim).mean()


def stock_step(
    levels: Sequence[StockLevel],
    x: Sequence[Tensor],
    cells: Sequence[Tensor],
    y: Tensor,
    optimizer: torch.optim.Optimizer,
) -> None:
    """One step of Adam on the sum over levels."""
    total = sum(
        stock_losses(level, *level(a, b), y.repeat_interleave(len(a) // len(y)), intra=True)
        for level, a, b in zip(levels, x, cells)
    )
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
