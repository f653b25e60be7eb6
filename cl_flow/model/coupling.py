"""Coupling block: an affine coupling conditional on position, then a rotation."""

__all__ = ["Coupling"]

import math
from collections.abc import Mapping, Sequence

import FrEIA.modules
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import special_ortho_group
from torch import Tensor, nn

from cl_flow.model.kernels import Block
from cl_flow.model.positions import Positions


class Coupling(FrEIA.modules.InvertibleModule):
    r"""FrEIA's conditional `AllInOneBlock`, laid out for grids.

    Of its variants it is the soft permutation and the SOFTPLUS affine. With x = [x₁,
    x₂] and [a, t] = 0.1 · subnet(x₁, c):
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o). $$
    This is the plain formula, forward and back, which autograd differentiates as often
    as one likes. `Level` takes the kernel `couple` in its place where that pays.

    The subnet's first layer is split in two, so that the codes are projected once per
    cell instead of once per patch, and no concatenation of patches and codes is ever
    made. Without a seed R is no random rotation: it turns the order of the channels
    round.

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
        seed: int | None,
    ) -> None:
        super().__init__(dims_in, dims_c)
        (dim,) = dims_in[0]
        (n_positions,) = dims_c[0]
        half = dim // 2
        self.split = (dim - half, half)
        self.clamp = clamp
        parts = [dim - half, n_positions]
        hidden = hidden or 2 * sum(parts)
        first = nn.Linear(sum(parts), hidden)
        bias = first.bias.detach()
        weight = first.weight.detach()
        inner, position = weight.split(parts, dim=1)
        self.inner_weight = nn.Parameter(inner.clone())
        self.position_weight = nn.Parameter(position.clone())
        self.inner_bias = nn.Parameter(bias.clone())
        self.outer = nn.Linear(hidden, 2 * half)
        # softplus(g/2)/5 = 1
        unit = 2 * math.log(math.expm1(5.0))
        self.global_scale = nn.Parameter(torch.full((dim,), unit))
        self.global_offset = nn.Parameter(torch.zeros(dim))
        self.register_buffer("rotation", _rotation(dim, seed))

    @property
    def is_plain(self) -> bool:
        """Whether its `forward` is the formula, not one of a subclass."""
        return type(self).forward is Coupling.forward

    def output_dims(self, input_dims: list[tuple[int]]) -> list[tuple[int]]:
        return input_dims

    def forward(
        self,
        x_or_z: Sequence[Tensor],
        c: Sequence[Positions],
        rev: bool = False,
        jac: bool = True,
    ) -> tuple[tuple[Tensor], Tensor]:
        """z (N, D) and log |det ∂z/∂x| (N,) of x (N, D), or the way back when `rev`.

        Names, order and tuples are FrEIA's.
        """
        formula = self._backward if rev else self._forward
        (x_or_z,) = x_or_z
        (condition,) = c
        out, log_det = formula(x_or_z, condition)
        return (out,), log_det

    def _forward(self, x: Tensor, condition: Positions) -> tuple[Tensor, Tensor]:
        x1, x2 = x.split(self.split, dim=1)
        log_growth, shift = self._affine(x1, condition)
        growth = torch.exp(log_growth)
        mixed2 = x2 * growth + shift
        mixed = torch.cat([x1, mixed2], dim=1)
        scale = self._scale()
        scaled = scale * mixed + self.global_offset
        z = scaled @ self.rotation.T
        log_det = log_growth.sum(1) + scale.log().sum()
        return z, log_det

    def _backward(self, z: Tensor, condition: Positions) -> tuple[Tensor, Tensor]:
        scaled = z @ self.rotation
        scale = self._scale()
        mixed = (scaled - self.global_offset) / scale
        x1, mixed2 = mixed.split(self.split, dim=1)
        log_growth, shift = self._affine(x1, condition)
        shrinkage = torch.exp(-log_growth)
        x2 = (mixed2 - shift) * shrinkage
        x = torch.cat([x1, x2], dim=1)
        log_det = -log_growth.sum(1) - scale.log().sum()
        return x, log_det

    def _affine(self, x1: Tensor, condition: Positions) -> tuple[Tensor, Tensor]:
        """α tanh a and t (N, ⌊D/2⌋) of the first halves x₁ (N, ⌈D/2⌉)."""
        codes = F.linear(condition.table, self.position_weight, self.inner_bias)
        if condition.index is None:
            n_grids = len(x1) // len(codes)
            codes = codes.repeat(n_grids, 1)
        else:
            codes = codes[condition.index]
        inner = F.linear(x1, self.inner_weight)
        hidden = torch.relu(inner + codes)
        affine = 0.1 * self.outer(hidden)
        a, shift = affine.chunk(2, dim=1)
        log_growth = self.clamp * a.tanh()
        return log_growth, shift

    def _scale(self) -> Tensor:
        """s = softplus(g/2)/5 (D,)."""
        return 0.1 * F.softplus(self.global_scale, beta=0.5)

    @property
    def block(self) -> Block:
        """Weights that it computes with, as the kernel takes them."""
        return Block(
            inner=self.inner_weight,
            position=self.position_weight,
            inner_bias=self.inner_bias,
            outer=self.outer.weight,
            outer_bias=self.outer.bias,
            scale=self.global_scale,
            offset=self.global_offset,
            rotation=self.rotation,
        )

    def load_all_in_one_(
        self, state: Mapping[str, Tensor], *, divided: bool = False
    ) -> "Coupling":
        """Take the weights of a FrEIA `AllInOneBlock`, to compute the same function.

        Args:
            state: Its `state_dict`.
            divided: Whether its log-scale is α tanh(a/α), as FrEIA has it since August
                2023, not α tanh a. It is ours when those rows of the last layer that
                give a are divided by α.
        """
        first = state["subnet.0.weight"]
        divisor = torch.ones_like(state["subnet.2.bias"])
        if divided:
            divisor[: self.split[1]] = self.clamp
        values = {
            "inner_weight": first[:, : self.split[0]],
            "position_weight": first[:, self.split[0] :],
            "inner_bias": state["subnet.0.bias"],
            "outer.weight": state["subnet.2.weight"] / divisor[:, None],
            "outer.bias": state["subnet.2.bias"] / divisor,
            "global_scale": state["global_scale"].flatten(),
            "global_offset": state["global_offset"].flatten(),
            "rotation": state["w_perm"],
        }
        self.load_state_dict(values)
        return self


def _rotation(dim: int, seed: int | None) -> Tensor:
    """Random rotation R (D, D), or the one that turns the order round."""
    if seed is None:
        return torch.eye(dim).flip(0)
    generator = np.random.default_rng(seed)
    rotation = special_ortho_group.rvs(dim, random_state=generator)
    return torch.as_tensor(rotation, dtype=torch.get_default_dtype())
