"""HGAD's losses in few calls, with their gradient written out.

The definition is `cl_flow.model.losses.hgad_losses`; this is the same in less time.
"""

__all__ = ["objective"]

import math
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from cl_flow.model.kernels.choice import differentiable_once
from cl_flow.model.kernels.rows import RowSums


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
    """All terms of HGAD's objective as one vector; differentiable once.

    They stand in the order of `cl_flow.model.losses.hgad_losses`. Classes and
    components lie before patches, where a reduction over the few of them runs at full
    width. −½‖z‖² is the same for all of them, and enters only where it does not cancel.
    Of offsets and component weights, those of the batch's own classes are all that is
    ever touched.

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
        # Added to every logarithm of a density.
        volume = _less_half_square(log_det, z)
        sums, between = _between(z, volume, y, mu, phi, smoothing)
        within = ()
        if intra:
            more, within = _within(z, volume, y, mu, delta, psi)
            sums += more
        ctx.save_for_backward(z, y, mu, delta, phi, psi, *between, *within)
        ctx.scales = _scales(*z.shape, len(sums), z.dtype, z.device)
        return torch.stack(sums).mul_(ctx.scales)

    @staticmethod
    @differentiable_once
    def backward(ctx: FunctionCtx, dterms: Tensor) -> tuple[Tensor | None, ...]:
        z, y, mu, delta, _, psi, *kept = ctx.saved_tensors
        dvolume, dmi, dnegentropy, *rest = (dterms * ctx.scales).unbind()
        between = _Between(*kept[:4])
        dz, dmu, dphi = _between_back(z, mu, between, dvolume, dmi, dnegentropy)
        ddelta = None
        dpsi = None
        if rest:
            dintra, dsurplus = rest
            within = _Within(*kept[4:])
            dim = z.shape[1]
            slope = torch.sigmoid(-within.surplus)
            dlog_joint = torch.addcmul(dintra, slope, dsurplus / dim)
            ddelta, dpsi = _within_back(z, y, delta, psi, within, dlog_joint, dz)
            dvolume = dvolume + dlog_joint
        dvolume = dvolume.expand(len(z))
        dz.addcmul_(z, dvolume[:, None], value=-1)
        return dz, dvolume, None, dmu, ddelta, dphi, dpsi, None, None


@cache
def _scales(
    n: int,
    dim: int,
    n_terms: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Factors by which sums over n patches become terms.

    They are made once, or a GPU would have every step wait for them.
    """
    scales = [-1 / dim, 1.0, -1.0, -1 / dim, -1.0][:n_terms]
    return (torch.tensor(scales, dtype=dtype) / n).to(device)


# ---- between classes


class _Between(NamedTuple):
    """Tensors that the gradient of the terms between classes needs.

    Args:
        q: softmax(ℓ + log π) (K, N).
        target: The smoothed one-hot (K, N).
        dnegentropy: Gradient of Σ p log p of p = softmax(ℓ) (K, N).
        log_pi: log π (K,).
    """

    q: Tensor
    target: Tensor
    dnegentropy: Tensor
    log_pi: Tensor


def _between(
    z: Tensor,
    volume: Tensor,
    y: Tensor,
    mu: Tensor,
    phi: Tensor,
    smoothing: float,
) -> tuple[tuple[Tensor, ...], _Between]:
    """Sums over patches of log p(x) up to (2π)^{−D/2}, the class term and Σ p log p.

    The class term's log softmax(ℓ + log π)_k − log π_k differs from ℓ_k by the same for
    every k: its softmax is ℓ's.
    """
    log_pi = phi.log_softmax(0)
    weight = _less_half_square(log_pi, mu)
    joint = torch.addmm(weight[:, None], mu, z.T)
    log_q = joint.log_softmax(0)
    gain = log_q - log_pi[:, None]
    log_p = gain.log_softmax(0)
    p = _exp(log_p)
    negentropy = (p * log_p).sum(0)
    target = _smoothed(joint, y, smoothing)
    log_evidence = _evidence(joint, log_q, 0).add_(volume)
    sums = (log_evidence.sum(), gain.mul_(target).sum(), negentropy.sum())
    dnegentropy = log_p.sub_(negentropy).mul_(p)
    return sums, _Between(_exp(log_q), target, dnegentropy, log_pi)


def _smoothed(like: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Smoothed one-hot (K, N) of class ids (B,)."""
    k, n = like.shape
    by_image = y[:, None].expand(-1, n // len(y))
    given = by_image.reshape(1, n)
    floor = smoothing / k
    target = torch.full_like(like, floor)
    return target.scatter_(0, given, 1 - smoothing + floor)


def _between_back(
    z: Tensor,
    mu: Tensor,
    kept: _Between,
    dvolume: Tensor,
    dmi: Tensor,
    dnegentropy: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of z but for its −½‖z‖², of mu and of phi.

    π is no part of the class term's gradient.
    """
    djoint = torch.addcmul(kept.q * (dvolume - dmi), kept.target, dmi)
    djoint.addcmul_(kept.dnegentropy, dnegentropy)
    dz = djoint.T @ mu
    dmu = djoint @ z
    total = djoint.sum(1)
    dmu.addcmul_(mu, total[:, None], value=-1)
    pi = kept.log_pi.exp()
    dphi = torch.sub(kept.q.sum(1), pi, alpha=len(z))
    return dz, dmu, dphi.mul_(dvolume)


# ---- within a class


class _Within(NamedTuple):
    """Tensors that the gradient of the terms within a class needs.

    Args:
        r: softmax over the components of the given class (B, M, N/B).
        centers: Those components (B, M, D).
        log_share: Logarithms of their weights (B, M).
        surplus: log p(x|y)/D (N,).
    """

    r: Tensor
    centers: Tensor
    log_share: Tensor
    surplus: Tensor


def _within(
    z: Tensor,
    volume: Tensor,
    y: Tensor,
    mu: Tensor,
    delta: Tensor,
    psi: Tensor,
) -> tuple[tuple[Tensor, ...], _Within]:
    """Sums over patches of log p(x|y) and of log σ(log p(x|y)/D).

    The first is up to (2π)^{−D/2}.
    """
    dim = z.shape[1]
    main = mu[y][:, None]
    others = main + delta[y]
    centers = torch.cat([main, others], 1)
    log_share = psi[y].log_softmax(1)
    weight = _less_half_square(log_share, centers)
    by_image = z.reshape(len(y), -1, dim)
    kernel = torch.baddbmm(weight[:, :, None], centers, by_image.mT)
    log_r = kernel.log_softmax(1)
    log_joint = _evidence(kernel, log_r, 1).flatten().add_(volume)
    constant = 0.5 * math.log(2 * math.pi)
    surplus = (log_joint / dim).sub_(constant)
    sums = (log_joint.sum(), F.logsigmoid(surplus).sum())
    return sums, _Within(_exp(log_r), centers, log_share, surplus)


def _within_back(
    z: Tensor,
    y: Tensor,
    delta: Tensor,
    psi: Tensor,
    kept: _Within,
    dlog_joint: Tensor,
    dz: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of delta and psi; that of z, but for its −½‖z‖², is added to `dz`."""
    by_image = (len(y), -1, z.shape[1])
    dkernel = kept.r * dlog_joint.view(len(y), 1, -1)
    dz.view(by_image).baddbmm_(dkernel.mT, kept.centers)
    dweight = dkernel.sum(2)
    dcenters = dkernel @ z.reshape(by_image)
    dcenters.addcmul_(kept.centers, dweight[:, :, None], value=-1)
    total = dweight.sum(1, keepdim=True)
    dshare = torch.addcmul(dweight, kept.log_share.exp(), total, value=-1)
    by_class = RowSums(y, len(psi), psi)
    ddelta = torch.empty_like(delta)
    by_class.into(ddelta.flatten(1), dcenters[:, 1:].flatten(1))
    return ddelta, by_class.into(torch.empty_like(psi), dshare)


# ---- shared


def _less_half_square(logarithm: Tensor, x: Tensor) -> Tensor:
    """Logarithm less ½‖x‖² (…,) of vectors (…, D)."""
    norm = torch.linalg.vector_norm(x, dim=-1)
    return torch.addcmul(logarithm, norm, norm, value=-0.5)


def _evidence(joint: Tensor, log_posterior: Tensor, dim: int) -> Tensor:
    """logsumexp over an axis, from the log softmax.

    Their difference is the same all along it.
    """
    return joint.amax(dim) - log_posterior.amax(dim)


def _exp(x: Tensor) -> Tensor:
    """exp(x), but 0 where it is beneath any rounding of a sum with 1.

    Products of subnormal numbers are slow.
    """
    return F.threshold(x, -60.0, -math.inf).exp_()
