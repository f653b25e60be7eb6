"""HGAD's losses in as few calls as their number allows, with their gradient written
out.
"""

__all__ = ["objective"]

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def objective(
    z: Tensor,
    log_det: Tensor,
    y: Tensor,
    mu: Tensor,
    delta: Tensor,
    phi: Tensor,
    psi: Tensor,
    *,
    smoothing: float,
    intra: bool,
) -> Tensor:
    """The terms of `cl_flow.model.losses.hgad_losses` in their order, as one vector;
    differentiable once.

    Classes and components lie before patches, where a reduction over the few of them
    runs at full width. −½‖z‖² is the same for all of them, and enters only where it
    does not cancel. Of offsets and component weights, those of the batch's own classes
    are all that is ever touched.

    Args:
        z: Latents (N, D).
        log_det: log |det ∂z/∂x| (N,).
        y: Class ids (B,); N/B consecutive latents share a class.
        mu: Main centers (K, D).
        delta: Offsets (K, M−1, D).
        phi: Class logits (K,).
        psi: Component logits (K, M).
        smoothing: ε of the smoothed target.
        intra: Whether the terms within a class are wanted.
    """
    return _Objective.apply(z, log_det, y, mu, delta, phi, psi, smoothing, intra)


class _Objective(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        z: Tensor,
        log_det: Tensor,
        y: Tensor,
        mu: Tensor,
        delta: Tensor,
        phi: Tensor,
        psi: Tensor,
        smoothing: float,
        intra: bool,
    ) -> Tensor:
        volume = _less_half_square(
            log_det, z
        )  # what adds to every logarithm of a density
        sums, between = _between(z, volume, y, mu, phi, smoothing)
        within = ()
        if intra:
            more, within = _within(z, volume, y, mu, delta, psi)
            sums += more
        ctx.save_for_backward(z, y, mu, delta, phi, psi, *between, *within)
        ctx.scales = _scales(*z.shape, len(sums), z.dtype, z.device)
        return torch.stack(sums).mul_(ctx.scales)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dterms: Tensor) -> tuple[Tensor | None, ...]:
        z, y, mu, delta, phi, psi, *kept = ctx.saved_tensors
        dvolume, dmi, dnegentropy, *rest = (dterms * ctx.scales).unbind()
        dz, dmu, dphi = _between_back(
            z, mu, _Between(*kept[:4]), dvolume, dmi, dnegentropy
        )
        ddelta = dpsi = None
        if rest:
            within = _Within(*kept[4:])
            dlog_joint = torch.addcmul(
                rest[0], torch.sigmoid(-within.surplus), rest[1] / z.shape[1]
            )
            ddelta, dpsi = _within_back(z, y, delta, psi, within, dlog_joint, dz)
            dvolume = dvolume + dlog_joint
        dvolume = dvolume.expand(len(z))
        dz.addcmul_(z, dvolume[:, None], value=-1)
        return dz, dvolume, None, dmu, ddelta, dphi, dpsi, None, None


@cache
def _scales(
    n: int, dim: int, n_terms: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """By what sums over n patches become terms; made once, or a GPU would have every
    step wait for it.
    """
    return (
        torch.tensor(
            [-1 / dim, 1.0, -1.0, -1 / dim, -1.0][:n_terms], dtype=dtype, device=device
        )
        / n
    )


# ---- between classes


class _Between(NamedTuple):
    q: Tensor  # softmax(ℓ + log π) (K, N)
    target: Tensor  # the smoothed one-hot (K, N)
    dnegentropy: Tensor  # the gradient of Σ p log p of p = softmax(ℓ) (K, N)
    log_pi: Tensor  # (K,)


def _between(
    z: Tensor, volume: Tensor, y: Tensor, mu: Tensor, phi: Tensor, smoothing: float
) -> tuple[tuple[Tensor, ...], _Between]:
    """Σ log p(x) up to (2π)^{−D/2}, Σ of the class term and Σ p log p over patches.

    The class term's log softmax(ℓ + log π)_k − log π_k differs from ℓ_k by the same for
    every k: its softmax is ℓ's.
    """
    k, n = len(mu), len(z)
    log_pi = phi.log_softmax(0)
    joint = torch.addmm(_less_half_square(log_pi, mu)[:, None], mu, z.T)
    log_q = joint.log_softmax(0)
    gain = log_q - log_pi[:, None]
    log_p = gain.log_softmax(0)
    p = _exp(log_p)
    negentropy = (p * log_p).sum(0)
    y = y[:, None].expand(-1, n // len(y)).reshape(1, n)
    target = torch.full_like(joint, smoothing / k).scatter_(
        0, y, 1 - smoothing + smoothing / k
    )
    sums = (
        _evidence(joint, log_q, 0).add_(volume).sum(),
        gain.mul_(target).sum(),
        negentropy.sum(),
    )
    return sums, _Between(_exp(log_q), target, log_p.sub_(negentropy).mul_(p), log_pi)


def _between_back(
    z: Tensor,
    mu: Tensor,
    kept: _Between,
    dvolume: Tensor,
    dmi: Tensor,
    dnegentropy: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of z but for its −½‖z‖², of mu and of phi; π is no part of the class term's
    gradient.
    """
    djoint = torch.addcmul(kept.q * (dvolume - dmi), kept.target, dmi).addcmul_(
        kept.dnegentropy, dnegentropy
    )
    dmu = (djoint @ z).addcmul_(mu, djoint.sum(1)[:, None], value=-1)
    dphi = torch.sub(kept.q.sum(1), kept.log_pi.exp(), alpha=len(z)).mul_(dvolume)
    return djoint.T @ mu, dmu, dphi


# ---- within a class


class _Within(NamedTuple):
    r: Tensor  # softmax over the components of the given class (B, M, N/B)
    centers: Tensor  # those components (B, M, D)
    log_share: Tensor  # and the logarithms of their weights (B, M)
    surplus: Tensor  # log p(x|y)/D (N,)


def _within(
    z: Tensor, volume: Tensor, y: Tensor, mu: Tensor, delta: Tensor, psi: Tensor
) -> tuple[tuple[Tensor, ...], _Within]:
    """Σ log p(x|y), up to (2π)^{−D/2}, and Σ log σ(log p(x|y)/D) over patches."""
    main, dim = mu[y][:, None], z.shape[1]
    centers, log_share = torch.cat([main, main + delta[y]], 1), psi[y].log_softmax(1)
    weight = _less_half_square(log_share, centers)
    kernel = torch.baddbmm(weight[:, :, None], centers, z.reshape(len(y), -1, dim).mT)
    log_r = kernel.log_softmax(1)
    log_joint = _evidence(kernel, log_r, 1).flatten().add_(volume)
    surplus = (log_joint / dim).sub_(0.5 * math.log(2 * math.pi))
    return (log_joint.sum(), F.logsigmoid(surplus).sum()), _Within(
        _exp(log_r), centers, log_share, surplus
    )


def _within_back(
    z: Tensor,
    y: Tensor,
    delta: Tensor,
    psi: Tensor,
    kept: _Within,
    dlog_joint: Tensor,
    dz: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of delta and psi; that of z, but for its −½‖z‖², is added to `dz`."""
    dkernel = kept.r * dlog_joint.view(len(y), 1, -1)
    dz.view(len(y), -1, z.shape[1]).baddbmm_(dkernel.mT, kept.centers)
    dweight = dkernel.sum(2)
    dcenters = (dkernel @ z.reshape(len(y), -1, z.shape[1])).addcmul_(
        kept.centers, dweight[:, :, None], value=-1
    )
    dpsi = torch.addcmul(
        dweight, kept.log_share.exp(), dweight.sum(1, keepdim=True), value=-1
    )
    return (
        torch.zeros_like(delta).index_add_(0, y, dcenters[:, 1:]),
        torch.zeros_like(psi).index_add_(0, y, dpsi),
    )


# ---- shared


def _less_half_square(logarithm: Tensor, x: Tensor) -> Tensor:
    """The logarithm less ½‖x‖² (…,) of vectors (…, D)."""
    norm = torch.linalg.vector_norm(x, dim=-1)
    return torch.addcmul(logarithm, norm, norm, value=-0.5)


def _evidence(joint: Tensor, log_posterior: Tensor, dim: int) -> Tensor:
    """logsumexp over an axis, from the log softmax: their difference is the same all
    along it.
    """
    return joint.amax(dim) - log_posterior.amax(dim)


def _exp(x: Tensor) -> Tensor:
    """exp(x), but 0 where it is beneath any rounding of a sum with 1: products of
    subnormal numbers are slow.
    """
    return F.threshold(x, -60.0, -math.inf).exp_()
