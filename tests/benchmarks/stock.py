"""What a user would run instead: FrEIA's stock blocks, the textbook losses, features
anew in every epoch.
"""

__all__ = ["StockLevel", "stock_losses", "stock_maps", "stock_normality", "stock_total"]

import math
from collections.abc import Sequence

import FrEIA.framework
import FrEIA.modules
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from cl_flow.data.patches import Batch
from cl_flow.model.coupling import Coupling
from cl_flow.model.flow import FlowConfig, Level


class StockLevel(nn.Module):
    """A stack of FrEIA's `AllInOneBlock` on patches with the position code
    concatenated, and HGAD's centers.

    Args:
        level: One of ours, whose weights it takes.
        config: Shape of the flow.
    """

    def __init__(self, level: Level, config: FlowConfig) -> None:
        super().__init__()
        self.flow = FrEIA.framework.SequenceINN(level.dim)
        for block in level.flow:
            self.flow.append(
                FrEIA.modules.AllInOneBlock,
                cond=0,
                cond_shape=(config.position_dim,),
                subnet_constructor=lambda n_in, n_out: nn.Sequential(
                    nn.Linear(n_in, config.hidden or 2 * n_in),
                    nn.ReLU(),
                    nn.Linear(config.hidden or 2 * n_in, n_out),
                ),
                affine_clamping=config.clamp,
                global_affine_type="SOFTPLUS",
                permute_soft=True,
            )
            _copy_weights(block, self.flow[-1])
        names = ("mu", "delta", "phi", "psi")
        self.mu, self.delta, self.phi, self.psi = (
            nn.Parameter(getattr(level.mixture, name).detach().clone())
            for name in names
        )
        self.codes = level.codes

    def forward(self, x: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Latents and log-determinant of patches (N, D) at their grid cells (N,)."""
        return self.flow(x, c=[self.codes[cells]])


@torch.no_grad()
def _copy_weights(ours: Coupling, theirs: nn.Module) -> None:
    theirs.subnet[0].weight.copy_(
        torch.cat([ours.inner_weight, ours.position_weight], 1)
    )
    theirs.subnet[0].bias.copy_(ours.inner_bias)
    theirs.subnet[2].load_state_dict(ours.outer.state_dict())
    theirs.global_scale.copy_(ours.global_scale.view_as(theirs.global_scale))
    theirs.global_offset.copy_(ours.global_offset.view_as(theirs.global_offset))
    theirs.w_perm.copy_(ours.rotation)
    theirs.w_perm_inv.copy_(ours.rotation.T)


def stock_losses(level: StockLevel, z: Tensor, log_det: Tensor, y: Tensor) -> Tensor:
    """HGAD's objective as the textbook has it: distances from differences, class ids
    (N,) one-hot and smoothed.
    """
    dim = z.shape[1]
    log_pi = level.phi.log_softmax(0)
    kernel = -0.5 * (z[:, None] - level.mu).square().sum(-1)
    g = -(torch.logsumexp(kernel + log_pi, 1) + log_det) / dim
    target = F.one_hot(y, len(level.mu)).float() * (1 - 0.02) + 0.02 / len(level.mu)
    mi = (target * ((kernel + log_pi.detach()).log_softmax(1) - log_pi.detach())).sum(1)
    p = kernel.softmax(1)
    entropy = -(p * kernel.log_softmax(1)).sum(1)
    offsets = torch.cat(
        [torch.zeros(len(level.mu), 1, dim, device=z.device), level.delta], 1
    )
    centers = (level.mu.detach()[:, None] + offsets)[y]
    within = (
        -0.5 * (z[:, None] - centers).square().sum(-1) + level.psi.log_softmax(1)[y]
    )
    log_p = torch.logsumexp(within, 1) + log_det
    surplus = (log_p - 0.5 * dim * math.log(2 * math.pi)) / dim
    return (
        g.mean()
        - 100.0 * mi.mean()
        + entropy.mean()
        - log_p.mean() / dim
        - F.logsigmoid(surplus).mean()
    )


def stock_total(levels: Sequence[StockLevel], batch: Batch) -> Tensor:
    """The sum over levels, all of a batch's patches at once."""
    total = 0.0
    for level, x, index in zip(levels, batch.x, batch.index):
        n_cells = len(level.codes)
        cells = (
            torch.arange(n_cells, device=x.device).repeat(len(x) // n_cells)
            if index is None
            else index
        )
        total = total + stock_losses(
            level, *level(x, cells), batch.y.repeat_interleave(len(x) // len(batch.y))
        )
    return total


# ---- scoring, image by image


@torch.inference_mode()
def stock_normality(
    levels: Sequence[StockLevel], images: Sequence[Tensor], y: int
) -> list[tuple[Tensor, Tensor]]:
    """Per level log p(x|y)/D and Σ p log p of one image's patches (S, D), as the
    textbook has them.
    """
    out = []
    for level, x in zip(levels, images):
        z, log_det = level(x, torch.arange(len(x), device=x.device))
        offsets = torch.cat(
            [torch.zeros(1, z.shape[1], device=z.device), level.delta[y]]
        )
        within = -0.5 * (z[:, None] - level.mu[y] - offsets).square().sum(
            -1
        ) + level.psi[y].log_softmax(0)
        log_p = (-0.5 * (z[:, None] - level.mu).square().sum(-1)).log_softmax(1)
        out.append(
            (
                (torch.logsumexp(within, 1) + log_det) / z.shape[1],
                (log_p.exp() * log_p).sum(1),
            )
        )
    return out


def stock_maps(
    normality: Sequence[Sequence[tuple[Tensor, Tensor]]],
    grids: Sequence[tuple[int, int]],
    size: int,
    sigma: float,
) -> np.ndarray:
    """The published protocol: maxima over the set, bilinear upsampling and a Gaussian
    image by image (n, H, W).
    """
    product = 1.0
    for factor in (0, 1):
        total = 0.0
        for i, grid in enumerate(grids):
            values = torch.stack([image[i][factor] for image in normality])
            normal = torch.exp(values - values.max()).view(-1, 1, *grid)
            maps = [
                F.interpolate(
                    n[None], size=(size, size), mode="bilinear", align_corners=True
                )
                for n in normal
            ]
            total = total + torch.cat(maps)[:, 0]
        anomaly = (total.max() - total).cpu().numpy()
        product = product * np.stack([gaussian_filter(one, sigma) for one in anomaly])
    return product
