"""Squared distances between latents and centers as one product, with its gradient."""

__all__ = ["minus_half_square"]

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def minus_half_square(z: Tensor, centers: Tensor) -> Tensor:
    """−½‖z_n − c_k‖² (…, N, K) of points (…, N, D) and centers (…, K, D), by one product; differentiable once."""
    return _MinusHalfSquare.apply(z, centers)


class _MinusHalfSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z: Tensor, centers: Tensor) -> Tensor:
        ctx.save_for_backward(z, centers)
        square = z.square().sum(-1, keepdim=True) + centers.square().sum(-1)[..., None, :]
        product = torch.addmm if z.ndim == 2 else torch.baddbmm
        return product(square, z, centers.mT, beta=-0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z, centers = ctx.saved_tensors
        dz = dcenters = None
        if ctx.needs_input_grad[0]:
            dz = (grad @ centers).addcmul_(z, grad.sum(-1, keepdim=True), value=-1)
        if ctx.needs_input_grad[1]:
            dcenters = (grad.mT @ z).addcmul_(centers, grad.sum(-2)[..., None], value=-1)
        return dz, dcenters
