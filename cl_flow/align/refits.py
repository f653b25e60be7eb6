"""Refits: classes fitted anew to latents at hand.

As one could who still has their images, from a mere shift to any shape.
"""

__all__ = ["FAMILIES", "refit"]

from typing import NamedTuple

import torch
from torch import Tensor

from cl_flow.align.affine import frames_of
from cl_flow.align.one_class import with_frame, with_values
from cl_flow.align.statistics.algebra import eye_like, positive
from cl_flow.align.statistics.gaussian import LOG_2PI, GaussianStats
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
      $C = \sum \tilde t \tilde z^\top$, the maximum of
      $N \log|\det W| - \tfrac12 \sum \|W z_n + b - t_n\|^2$ has the singular vectors of
      $C S^{-1/2} = U \,\mathrm{diag}(k)\, V^\top$: $W = U
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

    Example:
        >>> mixture = Mixture(2, n_components=1).expand(2, init="orthogonal")
        >>> z = 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> y = torch.zeros(500, dtype=torch.long)
        >>> fitted = refit(mixture, z, y, family="full")
        >>> likelihoods = [m.log_prob(z, y).mean() for m in (mixture, fitted)]
        >>> likelihoods[1] > likelihoods[0]
        tensor(True)
        >>> torch.equal(fitted.mu[1], mixture.mu[1])
        True
    """
    if family not in FAMILIES:
        raise KeyError(f"Unknown family {family!r}; known: {', '.join(FAMILIES)}.")
    if z.ndim != 2 or z.shape[1] != mixture.dim or not len(y) or len(z) % len(y):
        raise ValueError(
            f"Expected latents (N, {mixture.dim}), N a multiple of {len(y)}; "
            f"got {tuple(z.shape)}."
        )
    y = y.repeat_interleave(len(z) // len(y))
    out = mixture
    for k in y.unique().tolist():
        head = _head(mixture, k)
        own = z[y == k].double()
        u = own @ head.weight.T + head.bias
        fitted = _fit(head, u, family, shrinkage, n_iterations)
        out = _with_head(out, k, fitted, mu_moves=family in ("means", "offsets"))
    return out


def _fit(
    head: Head,
    u: Tensor,
    family: str,
    shrinkage: float,
    n_iterations: int,
) -> Head:
    """The class refitted to its latents as they look in its frame."""
    if family == "affine":
        weight, bias = _affine(head, u, shrinkage, n_iterations)
        return _through(head, weight, bias)
    mean = u.mean(0)
    kept = head.components[0]
    shift = mean - kept
    tied = Tied(head.components + shift, head.log_weights, eye_like(u))
    last = FAMILIES.index(family)
    for name in FAMILIES[1 : last + 1]:
        tied = _expectation_maximization(u, tied, name, shrinkage, n_iterations)
    components, log_weights, root = tied
    if family in ("means", "offsets"):
        return head._replace(components=components, log_weights=log_weights)
    # In the new frame the main center lies where it lay.
    offsets = components - components[0]
    moved = kept + offsets @ root.T
    head = head._replace(components=moved, log_weights=log_weights)
    return _through(head, root, kept - root @ mean)


def _through(head: Head, weight: Tensor, bias: Tensor) -> Head:
    """Class behind one more frame, in front of the one it has."""
    return head._replace(
        weight=weight @ head.weight,
        bias=weight @ head.bias + bias,
    )


# ---- components that share a covariance


class Tied(NamedTuple):
    """Components (M, D), log weights (M,) and the inverse root of their covariance."""

    components: Tensor
    log_weights: Tensor
    root: Tensor


def _expectation_maximization(
    u: Tensor,
    tied: Tied,
    family: str,
    shrinkage: float,
    n_iterations: int,
) -> Tied:
    """EM over what a family lets change.

    The first component stays.
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
    gap = means[0] - first
    scatter = whole.scatter[0] - weighted.T @ between
    scatter = scatter + n[0] * torch.outer(gap, gap)
    level = whole.covariance()[0].diagonal().mean()
    tiny = torch.finfo(torch.float32).tiny
    sphere = shrinkage * level.clamp(min=tiny) * eye_like(scatter)
    return (1 - shrinkage) * scatter / whole.n + sphere


# ---- an affine map onto components that stay


def _affine(
    head: Head,
    u: Tensor,
    shrinkage: float,
    n_iterations: int,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the likeliest affine map onto the class as it is."""
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
    cross = (targets - goal).T @ (u - mean) / len(u)
    inverse_root = _power(covariance, -0.5)
    left, k, right = torch.linalg.svd(cross @ inverse_root)
    stretch = (k + (k.square() + 4).sqrt()) / 2
    weight = left @ torch.diag(stretch) @ right @ inverse_root
    return weight, goal - weight @ mean


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
    log_p = (head.log_weights - 0.5 * square).logsumexp(1)
    constant = 0.5 * u.shape[1] * LOG_2PI
    volume = torch.linalg.slogdet(weight).logabsdet
    return (log_p.mean() - constant + volume).item()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    powers = positive(values) ** exponent
    return (vectors * powers) @ vectors.T


def _head(mixture: Mixture, k: int) -> Head:
    """A class in double precision."""
    frames = frames_of(mixture)
    head = Head(
        mixture.components()[k],
        mixture.psi[k].log_softmax(0),
        frames.weight[k],
        frames.bias[k],
    )
    return Head(*(value.double() for value in head))


def _with_head(mixture: Mixture, k: int, head: Head, *, mu_moves: bool) -> Mixture:
    """The mixture with one class set.

    One that only moves needs no frame.
    """
    mu = head.components[0]
    values = {"delta": head.components[1:] - mu, "psi": head.log_weights}
    if mu_moves:
        return with_values(mixture, k, mu=mu, **values)
    out = with_values(mixture, k, **values)
    return with_frame(out, k, head.weight, head.bias)
