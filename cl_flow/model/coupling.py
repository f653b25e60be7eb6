"""The coupling block: an affine coupling conditional on position, then a rotation."""

__all__ = ["Coupling", "Positions", "encode_positions"]

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import FrEIA.framework
import FrEIA.modules
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import special_ortho_group
from torch import Tensor, nn

from cl_flow.model.kernels.couplings import Block, couple


class Positions(NamedTuple):
    """The condition of a batch: a table of position codes, and which row each patch
    reads.

    Args:
        table: Position codes (S, P) of the S cells of a grid, or whatever else patches
            are told.
        index: Row of each patch (N,); None when the patches are whole grids, cell by
            cell (N a multiple of S).
    """

    table: Tensor
    index: Tensor | None = None


def encode_positions(dim: int, height: int, width: int) -> Tensor:
    """2-D sine/cosine code of every grid cell (height·width, dim), row by row.

    The first half of the channels codes the column, the second the row, at wavelengths
    from 2π to 10000·2π.

    Raises:
        ValueError: `dim` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(
            f"Expected a position dimension that is a multiple of 4; got {dim}."
        )
    rate = torch.exp(torch.arange(0.0, dim // 2, 2) * -(math.log(1e4) / (dim // 2)))

    def code(n: int) -> Tensor:
        angle = torch.arange(0.0, n)[:, None] * rate
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    columns = code(width)[None, :, :].expand(height, -1, -1)
    rows = code(height)[:, None, :].expand(-1, width, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)


class Coupling(FrEIA.modules.InvertibleModule):
    r"""FrEIA's conditional `AllInOneBlock` (soft permutation, SOFTPLUS affine), laid
    out for grids.

    With x = [x₁, x₂] and [a, t] = 0.1 · subnet(x₁, c):
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o). $$
    The subnet's first layer is split in two, so that the codes are projected once per
    cell instead of once per patch, and no concatenation of patches and codes is ever
    made.

    References:
        Density estimation using Real NVP (Dinh et al., 2017)
        https://arxiv.org/abs/1605.08803
        Framework for easily invertible architectures (Ardizzone et al., 2018)
        https://github.com/vislearn/FrEIA
    """

    def __init__(
        self,
        dims_in: Sequence[tuple[int]],
        dims_c: Sequence[tuple[int]],
        *,
        hidden: int | None,
        clamp: float,
        seed: int,
    ) -> None:
        super().__init__(dims_in, dims_c)
        dim, n_positions = dims_in[0][0], dims_c[0][0]
        self.split, self.clamp = (dim - dim // 2, dim // 2), clamp
        hidden = hidden or 2 * (self.split[0] + n_positions)
        whole = nn.Linear(self.split[0] + n_positions, hidden)
        self.inner_weight = nn.Parameter(
            whole.weight.detach()[:, : self.split[0]].clone()
        )
        self.position_weight = nn.Parameter(
            whole.weight.detach()[:, self.split[0] :].clone()
        )
        self.inner_bias = nn.Parameter(whole.bias.detach().clone())
        self.outer = nn.Linear(hidden, 2 * self.split[1])
        self.global_scale = nn.Parameter(
            torch.full((dim,), 2 * math.log(math.expm1(5.0)))
        )
        self.global_offset = nn.Parameter(torch.zeros(dim))
        rotation = special_ortho_group.rvs(
            dim, random_state=np.random.default_rng(seed)
        )
        self.register_buffer(
            "rotation", torch.as_tensor(rotation, dtype=torch.get_default_dtype())
        )

    def output_dims(self, input_dims: list[tuple[int]]) -> list[tuple[int]]:
        return input_dims

    def forward(
        self,
        x_or_z: Sequence[Tensor],
        c: Sequence[Positions],
        rev: bool = False,
        jac: bool = True,
    ) -> tuple[tuple[Tensor], Tensor]:
        """FrEIA's interface: x (N, D) to z (N, D) and log |det ∂z/∂x| (N,), or back
        when `rev`.
        """
        return (
            self._backward(x_or_z[0], c[0]) if rev else self._forward(x_or_z[0], c[0])
        )

    @property
    def block(self) -> Block:
        """The weights that it computes with."""
        return Block(
            self.inner_weight,
            self.position_weight,
            self.inner_bias,
            self.outer.weight,
            self.outer.bias,
            self.global_scale,
            self.global_offset,
            self.rotation,
        )

    def _forward(self, x: Tensor, c: Positions) -> tuple[tuple[Tensor], Tensor]:
        z, log_det = couple(x, *c, [self.block], clamp=self.clamp)
        return (z,), log_det

    def _backward(self, z: Tensor, c: Positions) -> tuple[tuple[Tensor], Tensor]:
        scale = 0.1 * F.softplus(self.global_scale, beta=0.5)
        x1, mixed = ((z @ self.rotation - self.global_offset) / scale).split(
            self.split, dim=1
        )
        codes = F.linear(c.table, self.position_weight, self.inner_bias)
        codes = (
            codes.repeat(len(z) // len(codes), 1) if c.index is None else codes[c.index]
        )
        a, t = (
            0.1 * self.outer((F.linear(x1, self.inner_weight) + codes).relu())
        ).split(self.split[1], dim=1)
        log_s = self.clamp * a.tanh()
        return (torch.cat([x1, (mixed - t) * torch.exp(-log_s)], dim=1),), -log_s.sum(
            1
        ) - scale.log().sum()

    def load_all_in_one_(self, state: Mapping[str, Tensor]) -> "Coupling":
        """Take the weights of a FrEIA `AllInOneBlock` (its `state_dict`) and compute
        the same function.
        """
        first = state["subnet.0.weight"]
        values = {
            "inner_weight": first[:, : self.split[0]],
            "position_weight": first[:, self.split[0] :],
            "inner_bias": state["subnet.0.bias"],
            "outer.weight": state["subnet.2.weight"],
            "outer.bias": state["subnet.2.bias"],
            "global_scale": state["global_scale"].flatten(),
            "global_offset": state["global_offset"].flatten(),
            "rotation": state["w_perm"],
        }
        self.load_state_dict(values)
        return self
