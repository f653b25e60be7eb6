"""The losses of HGAD, term by term, for latents of one feature level."""

__all__ = ["LossConfig", "hgad_losses", "hgad_total"]

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from cl_flow.mixture import Mixture


@dataclass(frozen=True)
class LossConfig:
    """Weights of HGAD's objective.

    Args:
        mutual_information: Weight λ of the class term L_mi.
        label_smoothing: ε of the smoothed one-hot target. The margin between classes that it aims at grows with K.
    """

    mutual_information: float = 100.0
    label_smoothing: float = 0.02


def hgad_losses(
    mixture: Mixture, z: Tensor, log_det: Tensor, y: Tensor, *, intra: bool, label_smoothing: float = 0.02
) -> dict[str, Tensor]:
    r"""Every term of HGAD's objective, as means over the patches.

    With ℓ_k = −½‖z−mu_k‖² and π = softmax(phi):
    `g` = −[logsumexp_k(ℓ_k + log π_k) + log_det]/D;
    `mi` = Σ_k y_k (log softmax(ℓ + log π)_k − log π_k), y smoothed, π detached;
    `entropy` of softmax(ℓ); and, in the second phase,
    `intra` = −[logsumexp_m(−½‖z−mu_y−delta_ym‖² + log softmax(psi_y)_m) + log_det]/D and
    `z` = −log σ((log p(z|y) + log_det)/D), both with mu detached.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        mixture: Base density with K classes.
        z: Latents (N, D).
        log_det: log |det ∂z/∂x| (N,).
        y: Class ids (N,), or (B,) where N/B consecutive latents share a class.
        intra: Whether the second phase has begun.
        label_smoothing: ε of the smoothed target.

    Returns:
        Scalars by name: `g`, `mi`, `entropy`, and with `intra` also `intra`, `z`.
    """
    names, terms = (
        ("g", "mi", "entropy"),
        _ClassTerms.apply(mixture.log_kernel(z), mixture.phi, log_det, y, label_smoothing, mixture.dim),
    )
    if intra:
        kernel = mixture.log_kernel_within(z, y, detach_mu=True)
        names, terms = (*names, "intra", "z"), (*terms, *_WithinTerms.apply(kernel, log_det, mixture.dim))
    return dict(zip(names, terms))


def hgad_total(terms: dict[str, Tensor], config: LossConfig = LossConfig()) -> Tensor:  # noqa: B008  (frozen)
    """L_g − λ L_mi + L_e, and + L_intra + L_z where the terms hold them."""
    weights = {"g": 1.0, "mi": -config.mutual_information, "entropy": 1.0, "intra": 1.0, "z": 1.0}
    values = torch.stack(list(terms.values()))
    return values @ values.new_tensor([weights[name] for name in terms])


class _ClassTerms(torch.autograd.Function):
    """`g`, `mi` and `entropy` from ℓ (N, K), phi and log_det, with their gradient.

    The class term's log softmax(ℓ + log π)_k − log π_k is ℓ_k − logsumexp(ℓ + log π): π enters by its sum alone.
    Classes lie along the first axis, where a reduction over the few of them runs at full width.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, kernel: Tensor, phi: Tensor, log_det: Tensor, y: Tensor, smoothing: float, dim: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        kernel, log_pi = kernel.T.contiguous(), phi.log_softmax(0)
        evidence, q = _evidence(kernel + log_pi[:, None])
        log_p = kernel.log_softmax(0)
        p = _exp(log_p)
        negentropy = (p * log_p).sum(0)
        y = y[:, None].expand(-1, kernel.shape[1] // len(y)).reshape(1, -1)
        gain = torch.lerp(kernel.gather(0, y)[0], kernel.mean(0), smoothing).sub_(evidence)
        ctx.save_for_backward(q, log_p, p, negentropy, y, log_pi)
        ctx.smoothing, ctx.dim = smoothing, dim
        return evidence.add_(log_det).mean().div_(-dim), gain.mean(), negentropy.mean().neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dg: Tensor, dmi: Tensor, dentropy: Tensor) -> tuple[Tensor | None, ...]:
        q, log_p, p, negentropy, y, log_pi = ctx.saved_tensors
        k, n = p.shape
        dg = dg / (-ctx.dim * n)
        dmi, dentropy = dmi / n, dentropy / n
        dkernel = torch.addcmul(q * (dg - dmi), negentropy.sub(log_p).mul_(p), dentropy).add_(dmi * (ctx.smoothing / k))
        dkernel.scatter_add_(0, y, (dmi * (1 - ctx.smoothing)).expand(1, n))
        dpi = q.sum(1).mul_(dg)
        dphi = dpi.sub_(log_pi.exp() * dpi.sum())
        return dkernel.T.contiguous(), dphi, dg.expand(n), None, None, None


class _WithinTerms(torch.autograd.Function):
    """`intra` and `z` from the kernel within the class (B, N/B, M) and log_det, with their gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, kernel: Tensor, log_det: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        evidence, q = _evidence(kernel.flatten(0, -2).T.contiguous())
        u = evidence.add_(log_det).div_(dim)
        mean = u.mean()
        u -= 0.5 * math.log(2 * math.pi)
        ctx.save_for_backward(q, u)
        ctx.shape, ctx.scale = kernel.shape, dim * len(u)
        return mean.neg_(), F.logsigmoid(u).mean().neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dmean: Tensor, dz: Tensor) -> tuple[Tensor | None, ...]:
        q, u = ctx.saved_tensors
        dlog_det = torch.sigmoid(-u).mul_(dz).add_(dmean).div_(-ctx.scale)
        return (q * dlog_det).T.contiguous().view(ctx.shape), dlog_det, None


def _evidence(joint: Tensor) -> tuple[Tensor, Tensor]:
    """logsumexp over the first axis (N,) of log weights (K, N), and their softmax (K, N)."""
    largest = joint.amax(0)
    q = _exp(joint - largest)
    total = q.sum(0)
    return largest + total.log(), q.div_(total)


def _exp(x: Tensor) -> Tensor:
    """exp(x), but 0 where it is beneath any rounding of a sum with 1: products of subnormal numbers are slow."""
    return F.threshold(x, -60.0, -math.inf).exp_()
