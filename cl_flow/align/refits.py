"""Refits: classes fitted anew to latents at hand.

As one could who still has their images, from a mere shift to any shape.
"""

__all__ = ["FAMILIES", "refit"]

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.model.mixture import Mixture

FAMILIES = ("means", "offsets", "diagonal", "full", "affine")


class Head(NamedTuple):
    """Components (M, D) and log weights (M,) of one class.

    They lie in its frame u = weight·z + bias.
    """

    components: Tensor
    log_weights: Tensor
    weight: Tensor
    bias: Tensor


@torch.no_grad()
def refit(
    mixture: Mixture,
    z: Tensor,
    y: Tensor,
    *,
    family: str = "full",
    shrinkage: float = 1e-3,
    n_iterations: int = 10,
) -> Mixture:
    r"""The mixture with every class in `y` fitted anew to its latents.

    The other classes keep their bits.

    The families say what may change, by maximum likelihood but for the first. Four of
    them are nested, each begun at the optimum of the one before, so that the likelihood
    of the latents never falls along them:

    - `means`: the class moves as it is, until its main center is the mean of its
      latents;
    - `offsets`: around that mean, offsets and weights of the components are learnt
      anew;
    - `diagonal`: the components also share a diagonal covariance;
    - `full`: they share a full covariance.

    The fifth contains `means` and stands beside the rest, for it keeps the shape that
    the class had:

    - `affine`: offsets and weights stay, and the class looks at its latents through
      $u = W z + b$: what moved it by an affine map is undone, as far as the shape of
      the class tells one direction from another. Given responsibilities r, targets
      $t_n = \sum_m r_{nm} \mu_m$ and scatters $S = \sum \tilde z \tilde z^\top$,
      $C = \sum \tilde t \tilde z^\top$, the
      maximum of $N \log|\det W| - \tfrac12 \sum \|W z_n + b - t_n\|^2$ has the singular
      vectors of $C S^{-1/2} = U \,\mathrm{diag}(k)\, V^\top$: $W = U
      \,\mathrm{diag}\big(\tfrac12 (k + \sqrt{k^2 + 4N})\big)\, V^\top S^{-1/2}$. It is
      begun at the shift and at the map that whitens the latents and colours them as the
      class was; the likelier end is kept.

    A covariance becomes a frame; the main center, and with it the old geometry of
    centers, stays where it is there.

    References:
        Maximum likelihood linear transformations for HMM-based speech recognition
        (Gales, 1998)
        https://doi.org/10.1006/csla.1998.0043
        Maximum likelihood from incomplete data via the EM algorithm (Dempster, Laird
        and Rubin, 1977)
        https://doi.org/10.1111/j.2517-6161.1977.tb01600.x

    Args:
        mixture: What the classes were, their frames included.
        z: Latents (N, D) of normal images.
        y: Class ids (N,), or (B,) with N a multiple of B: N/B consecutive latents then
            share a class.
        family: Name in `FAMILIES`.
        shrinkage: Share of I, at the trace of a class's latents, in its covariance: a
            fit then exists for few of them.
        n_iterations: Of expectation and maximisation, per family.

    Raises:
        KeyError: Unknown family.
        ValueError: Latents of another shape, or not as many as classes ask for.
    """
    if family not in FAMILIES:
        raise KeyError(f"Unknown family {family!r}; known: {', '.join(FAMILIES)}.")
    if z.ndim != 2 or z.shape[1] != mixture.dim or not len(y) or len(z) % len(y):
        raise ValueError(
            f"Expected latents (N, {mixture.dim}), N a multiple of {len(y)}; got "
            f"{tuple(z.shape)}."
        )
    y = y.repeat_interleave(len(z) // len(y))
    out = mixture
    for k in y.unique().tolist():
        head = _head(mixture, k)
        u = z[y == k].double() @ head.weight.T + head.bias
        fitted = _fit(head, u, family, shrinkage, n_iterations)
        out = _with_head(out, k, fitted, mu_moves=family in ("means", "offsets"))
    return out


def _fit(
    head: Head, u: Tensor, family: str, shrinkage: float, n_iterations: int
) -> Head:
    """The class refitted to its latents as they look in its frame."""
    mean = u.mean(0)
    shift = mean - head.components[0]
    if family == "affine":
        return _through(head, *_affine(head, u, shrinkage, n_iterations))
    components = head.components + shift
    log_weights = head.log_weights
    root = torch.eye(len(mean)).to(u)
    for name in FAMILIES[1 : FAMILIES.index(family) + 1]:
        components, log_weights, root = _tied(
            u, components, log_weights, root, name, shrinkage, n_iterations
        )
    if family in ("means", "offsets"):
        return head._replace(components=components, log_weights=log_weights)
    kept = head.components[0]  # in the new frame the main center lies where it lay
    moved = kept + (components - components[0]) @ root.T
    return _through(
        Head(moved, log_weights, head.weight, head.bias), root, kept - root @ mean
    )


def _through(head: Head, weight: Tensor, bias: Tensor) -> Head:
    """Class behind one more frame, in front of the one it has."""
    return head._replace(weight=weight @ head.weight, bias=weight @ head.bias + bias)


# ---- components that share a covariance


def _tied(
    u: Tensor,
    components: Tensor,
    log_weights: Tensor,
    root: Tensor,
    family: str,
    shrinkage: float,
    n_iterations: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """EM over components, weights and the inverse root of their covariance.

    The first component stays.
    """
    whole = GaussianStats.of(u)
    for _ in range(n_iterations):
        r = _responsibilities(u @ root.T, components @ root.T, log_weights)
        n = r.sum(0).clamp(min=torch.finfo(u.dtype).tiny)
        means = (r.T @ u) / n[:, None]
        components = torch.cat([components[:1], means[1:]])
        log_weights = (n / n.sum()).log()
        if family != "offsets":
            root = _root(
                whole, n, means, components[0], shrinkage, diagonal=family == "diagonal"
            )
    return components, log_weights, root


def _root(
    whole: GaussianStats,
    n: Tensor,
    means: Tensor,
    first: Tensor,
    shrinkage: float,
    *,
    diagonal: bool,
) -> Tensor:
    """Inverse root (D, D) of the scatter within components.

    It is the whole scatter less that between them.
    """
    between = means - whole.mean
    around_first = means[0] - first
    scatter = (
        whole.scatter[0]
        - (between * n[:, None]).T @ between
        + n[0] * torch.outer(around_first, around_first)
    )
    level = (
        whole.covariance()[0]
        .diagonal()
        .mean()
        .clamp(min=torch.finfo(torch.float32).tiny)
    )
    within = (1 - shrinkage) * scatter / whole.n + shrinkage * level * torch.eye(
        len(scatter)
    ).to(scatter)
    return within.diagonal().rsqrt().diag() if diagonal else _power(within, -0.5)


# ---- an affine map onto components that stay


def _affine(
    head: Head, u: Tensor, shrinkage: float, n_iterations: int
) -> tuple[Tensor, Tensor]:
    """Likeliest affine map of latents onto the class as it is.

    As a weight and a bias.
    """
    stats = GaussianStats.of(u)
    covariance = stats.covariance(shrinkage=shrinkage)[0]
    ends = []
    for weight in (torch.eye(u.shape[1]).to(u), _colouring(covariance, head)):
        bias = head.components[0] - weight @ stats.mean[0]
        for _ in range(n_iterations):
            weight, bias = _onto(head, u, weight, bias, stats.mean[0], covariance)
        ends.append((_log_likelihood(head, u, weight, bias), weight, bias))
    return max(ends, key=lambda end: end[0])[1:]


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
    targets = (
        _responsibilities(u @ weight.T + bias, head.components, head.log_weights)
        @ head.components
    )
    inverse_root = _power(covariance, -0.5)
    cross = (targets - targets.mean(0)).T @ (u - mean) / len(u)
    left, k, right = torch.linalg.svd(cross @ inverse_root)
    weight = left @ torch.diag((k + (k.square() + 4).sqrt()) / 2) @ right @ inverse_root
    return weight, targets.mean(0) - weight @ mean


def _colouring(covariance: Tensor, head: Head) -> Tensor:
    """Symmetric map that gives latents the class's own covariance.

    Whitening, then colouring.
    """
    spread = GaussianStats.of(
        head.components, head.log_weights.exp()[:, None]
    ).covariance()[0]
    root = _power(covariance, 0.5)
    inverse_root = _power(covariance, -0.5)
    own = spread + torch.eye(len(spread)).to(spread)
    return inverse_root @ _power(root @ own @ root, 0.5) @ inverse_root


# ---- shared


def _responsibilities(u: Tensor, components: Tensor, log_weights: Tensor) -> Tensor:
    """p(m | u) (N, M).

    What all components share of the exponent is left out.
    """
    own = log_weights - 0.5 * components.square().sum(1)
    # Four times as fast as along rows of M.
    return torch.addmm(own[:, None], components, u.T).softmax(0).T


def _log_likelihood(head: Head, u: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Mean log-density of latents behind a frame."""
    square = torch.cdist(u @ weight.T + bias, head.components).square()
    inside = (head.log_weights - 0.5 * square).logsumexp(1).mean() - 0.5 * u.shape[
        1
    ] * math.log(2 * math.pi)
    return (inside + torch.linalg.slogdet(weight).logabsdet).item()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (
        vectors * values.clamp(min=torch.finfo(values.dtype).tiny) ** exponent
    ) @ vectors.T


def _head(mixture: Mixture, k: int) -> Head:
    """A class in double precision."""
    dim = mixture.dim
    like = mixture.mu
    weight, bias = mixture.frames or (
        torch.eye(dim).expand(mixture.n_classes, -1, -1),
        torch.zeros(like.shape),
    )
    values = (
        mixture.components()[k],
        mixture.psi[k].log_softmax(0),
        weight[k],
        bias[k],
    )
    return Head(
        *(value.to(device=like.device, dtype=torch.float64) for value in values)
    )


def _with_head(mixture: Mixture, k: int, head: Head, *, mu_moves: bool) -> Mixture:
    """The mixture with one class set.

    One that only moves needs no frame.
    """
    rows = {
        name: getattr(mixture, name).detach().clone() for name in ("mu", "delta", "psi")
    }
    if mu_moves:
        rows["mu"][k] = head.components[0].to(rows["mu"])
    rows["delta"][k] = (head.components[1:] - head.components[0]).to(rows["delta"])
    rows["psi"][k] = head.log_weights.to(rows["psi"])
    out = mixture.replace(**rows)
    if mu_moves:
        return out
    dim = mixture.dim
    like = rows["mu"]
    weight, bias = mixture.frames or (
        torch.eye(dim).repeat(len(like), 1, 1).to(like),
        torch.zeros_like(like),
    )
    weight = weight.clone()
    bias = bias.clone()
    weight[k], bias[k] = head.weight.to(weight), head.bias.to(bias)
    return out.framed(weight, bias)
