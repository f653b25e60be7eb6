"""The hot path: an affine coupling followed by a scaled rotation, with its gradient written out."""

__all__ = ["couple"]

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def couple(
    x: Tensor,
    codes: Tensor,
    index: Tensor | None,
    inner: Tensor,
    outer: Tensor,
    bias: Tensor,
    scale: Tensor,
    offset: Tensor,
    rotation: Tensor,
    *,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    r"""One coupling block of the flow, forward.

    With x = [x₁, x₂], h = relu(inner·x₁ + codes) and [a, t] = 0.1 (outer·h + bias):
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o), \quad
       \log|\det| = \textstyle\sum \alpha \tanh a + \sum \log s. $$
    Products make up nearly all of its time, forward and backward: the factor 0.1 and the scale are folded into weights,
    what the gradient needs is kept once, and the rest happens in place. It can be differentiated once.

    Args:
        x: Patches (N, D).
        codes: Position codes as the first layer sees them, its bias included (S, hidden).
        index: Row of `codes` for each patch (N,); None when the patches are whole grids (N a multiple of S).
        inner: Weights of the first layer (hidden, ⌈D/2⌉).
        outer: Weights of the second layer (2·⌊D/2⌋, hidden).
        bias: Bias of the second layer (2·⌊D/2⌋,).
        scale: Positive scale s (D,).
        offset: Offset o (D,).
        rotation: Orthogonal matrix R (D, D), not learnt.
        clamp: Bound α of the log scale.

    Returns:
        z (N, D) and the log-determinant (N,).
    """
    return _Couple.apply(x, codes, index, inner, outer, bias, scale, offset, rotation, clamp)


class _Couple(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        codes: Tensor,
        index: Tensor | None,
        inner: Tensor,
        outer: Tensor,
        bias: Tensor,
        scale: Tensor,
        offset: Tensor,
        rotation: Tensor,
        clamp: float,
    ) -> tuple[Tensor, Tensor]:
        half = inner.shape[1]
        hidden = x[:, :half] @ inner.T
        if index is None:
            hidden.view(-1, *codes.shape).add_(codes)
        else:
            hidden.add_(codes.index_select(0, index))
        hidden.relu_()
        a, t = torch.addmm(0.1 * bias, hidden, outer.T, alpha=0.1).split(x.shape[1] - half, dim=1)
        tanh = a.tanh()
        growth = tanh.mul(clamp).exp_()
        mixed = torch.empty_like(x)
        mixed[:, :half] = x[:, :half]
        torch.addcmul(t, x[:, half:], growth, out=mixed[:, half:])
        z = torch.addmm(rotation @ offset, mixed, (rotation * scale).T)
        ctx.save_for_backward(x, index, inner, outer, scale, rotation, hidden, tanh, growth, mixed)
        ctx.clamp, ctx.cells = clamp, len(codes)
        return z, tanh.sum(1).mul_(clamp).add_(scale.log().sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dz: Tensor, dlog_det: Tensor) -> tuple[Tensor | None, ...]:
        x, index, inner, outer, scale, rotation, hidden, tanh, growth, mixed = ctx.saved_tensors
        half = inner.shape[1]
        dmixed = dz @ rotation
        doffset = dmixed.sum(0)
        dscale = (dmixed * mixed).sum(0).add_(dlog_det.sum() / scale)
        dx = dmixed.mul_(scale)
        dt = dx[:, half:]
        dout = torch.empty(len(x), 2 * dt.shape[1], dtype=x.dtype, device=x.device)
        dout[:, dt.shape[1] :] = dt
        dt.mul_(growth)
        da = torch.addcmul(dlog_det[:, None], dt, x[:, half:], out=dout[:, : dt.shape[1]])
        da.mul_(torch.addcmul(tanh.new_ones(()), tanh, tanh, value=-1)).mul_(ctx.clamp)
        dout.mul_(0.1)
        dhidden = torch.ops.aten.threshold_backward(dout @ outer, hidden, 0)
        if index is None:
            dcodes = dhidden.view(-1, ctx.cells, hidden.shape[1]).sum(0)
        else:
            dcodes = dhidden.new_zeros(ctx.cells, hidden.shape[1]).index_add_(0, index, dhidden)
        dx[:, :half].addmm_(dhidden, inner)
        return dx, dcodes, None, dhidden.T @ x[:, :half], dout.T @ hidden, dout.sum(0), dscale, doffset, None, None
