"""Expectation–maximization: a class fitted to latents in its frame.

Either its components move, and share a covariance; or they stay, and an affine map
takes the latents to them.
"""

__all__ = ["Head", "Tied", "affine_map", "tied_components"]

from typing import NamedTuple

import torch
from torch import Tensor

from cl_flow.align.statistics.algebra import eye_like, positive
from cl_flow.align.statistics.gaussian import LOG_2PI, GaussianStats


class Head(NamedTuple):
    """Components (M, D) and log weights (M,) of one class.

    They lie in its frame u = weight·z + bias.
    """

    components: Tensor
    log_weights: Tensor
    weight: Tensor
    bias: Tensor


# ---- components that share a covariance


class Tied(NamedTuple):
    """Components (M, D), log weights (M,) and the inverse root of their covariance."""

    components: Tensor
    log_weights: Tensor
    root: Tensor


def tied_components(
    u: Tensor,
    tied: Tied,
    family: str,
    shrinkage: float,
    n_iterations: int,
) -> Tied:
    """Components after EM over what a family lets change.

    Args:
        u: Latents (N, D).
        tied: Where EM begins; its first component stays.
        family: `"offsets"` keeps the root, `"diagonal"` and `"full"` learn it anew.
        shrinkage: Of the covariance.
        n_iterations: Steps of EM.
    """
    components, log_weights, root = tied
    whole = GaussianStats.of(u)
    for _ in range(n_iterations):
        r = _responsibilities(u @ root.T, components @ root.T, log_weights)
        n = positive(r.sum(0))
        sums = r.T @ u
        means = sums / n[:, None]
        components = torch.cat([components[:1], means[1:]])
        log_weights = (n / n.sum()).log()
        if family == "offsets":
            continue
        covariance = _within(whole, n, means, components[0], shrinkage)
        if family == "diagonal":
            root = covariance.diagonal().rsqrt().diag()
        else:
            root = _power(covariance, -0.5)
    return Tied(components, log_weights, root)


def _within(
    whole: GaussianStats,
    n: Tensor,
    means: Tensor,
    first: Tensor,
    shrinkage: float,
) -> Tensor:
    """Covariance (D, D) within components.

    Its scatter is the whole less that between them.
    """
    between = means - whole.mean
    weighted = between * n[:, None]
    scatter = whole.scatter[0] - weighted.T @ between
    # The first component does not lie at the mean of what belongs to it.
    gap = means[0] - first
    scatter = scatter + n[0] * torch.outer(gap, gap)
    variances = whole.covariance()[0].diagonal()
    tiny = torch.finfo(torch.float32).tiny
    level = variances.mean().clamp(min=tiny)
    sphere = shrinkage * level * eye_like(scatter)
    own = (1 - shrinkage) * scatter / whole.n
    return own + sphere


# ---- an affine map onto components that stay


def affine_map(
    head: Head,
    u: Tensor,
    shrinkage: float,
    n_iterations: int,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the likeliest affine map onto the class as it is.

    Args:
        head: The class; its frame is not looked at.
        u: Latents (N, D).
        shrinkage: Of their covariance.
        n_iterations: Steps of EM from each of two starts.
    """
    stats = GaussianStats.of(u)
    mean = stats.mean[0]
    covariance = stats.covariance(shrinkage=shrinkage)[0]
    starts = (eye_like(u), _colouring(covariance, head))
    ends = []
    for weight in starts:
        bias = head.components[0] - weight @ mean
        for _ in range(n_iterations):
            weight, bias = _onto(head, u, weight, bias, mean, covariance)
        likelihood = _log_likelihood(head, u, weight, bias)
        ends.append((likelihood, weight, bias))
    _, weight, bias = max(ends, key=lambda end: end[0])
    return weight, bias


def _onto(
    head: Head,
    u: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    covariance: Tensor,
) -> tuple[Tensor, Tensor]:
    """One step of EM.

    The map that maximises the expected likelihood, in closed form.
    """
    seen = u @ weight.T + bias
    r = _responsibilities(seen, head.components, head.log_weights)
    targets = r @ head.components
    goal = targets.mean(0)
    spread = targets - goal
    cross = spread.T @ (u - mean)
    inverse_root = _power(covariance, -0.5)
    white = (cross / len(u)) @ inverse_root
    left, k, right = torch.linalg.svd(white)
    root = (k.square() + 4).sqrt()
    stretch = (k + root) / 2
    turned = left @ stretch.diag() @ right
    weight = turned @ inverse_root
    bias = goal - weight @ mean
    return weight, bias


def _colouring(covariance: Tensor, head: Head) -> Tensor:
    """Symmetric map that gives latents the class's own covariance.

    Whitening, then colouring.
    """
    weights = head.log_weights.exp()
    spread = GaussianStats.of(head.components, weights[:, None])
    between = spread.covariance()[0]
    own = between + eye_like(between)
    root = _power(covariance, 0.5)
    inverse_root = _power(covariance, -0.5)
    colour = _power(root @ own @ root, 0.5)
    return inverse_root @ colour @ inverse_root


# ---- shared


def _responsibilities(u: Tensor, components: Tensor, log_weights: Tensor) -> Tensor:
    """p(m | u) (N, M).

    What all components share of the exponent is left out.
    """
    square = components.square().sum(1)
    own = log_weights - 0.5 * square
    # Four times as fast as along rows of M.
    log_p = torch.addmm(own[:, None], components, u.T)
    return log_p.softmax(0).T


def _log_likelihood(head: Head, u: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Mean log-density of latents behind a frame."""
    seen = u @ weight.T + bias
    square = torch.cdist(seen, head.components).square()
    log_kernel = head.log_weights - 0.5 * square
    log_p = log_kernel.logsumexp(1)
    constant = 0.5 * u.shape[1] * LOG_2PI
    volume = torch.linalg.slogdet(weight).logabsdet
    mean = log_p.mean() - constant + volume
    return mean.item()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    powers = positive(values) ** exponent
    return (vectors * powers) @ vectors.T
