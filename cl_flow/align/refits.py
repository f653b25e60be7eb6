"""Refits: classes fitted anew to latents at hand.

As one could who still has their images, from a mere shift to any shape.
"""

__all__ = ["FAMILIES", "refit"]

import torch
from torch import Tensor

from cl_flow.align.affine import frames_of
from cl_flow.align.em import Head, Tied, affine_map, tied_components
from cl_flow.align.one_class import with_frame, with_values
from cl_flow.align.statistics.algebra import eye_like
from cl_flow.calls import checked, refuse_unknown
from cl_flow.model.mixture import Mixture

FAMILIES = ("means", "offsets", "diagonal", "full", "affine")


@checked
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
    - `offsets`: around that mean, offsets and weights of the components are learned
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
    refuse_unknown("family", family, FAMILIES)
    if z.ndim != 2 or z.shape[1] != mixture.dim or not len(y) or len(z) % len(y):
        raise ValueError(
            f"Expected latents (N, {mixture.dim}), N a multiple of {len(y)}; "
            f"got {tuple(z.shape)}."
        )
    y = y.repeat_interleave(len(z) // len(y))
    # A learned frame would move with its center, which a fitted one does not.
    out = mixture if mixture.covariance is None else mixture.framed(*frames_of(mixture))
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
        weight, bias = affine_map(head, u, shrinkage, n_iterations)
        return _through(head, weight, bias)
    mean = u.mean(0)
    kept = head.components[0]
    shift = mean - kept
    tied = Tied(head.components + shift, head.log_weights, eye_like(u))
    last = FAMILIES.index(family)
    for name in FAMILIES[1 : last + 1]:
        tied = tied_components(u, tied, name, shrinkage, n_iterations)
    components, log_weights, root = tied
    if family in ("means", "offsets"):
        return head._replace(components=components, log_weights=log_weights)
    # In the new frame the main center lies where it lay.
    offsets = components - components[0]
    moved = kept + offsets @ root.T
    head = head._replace(components=moved, log_weights=log_weights)
    bias = kept - root @ mean
    return _through(head, root, bias)


def _through(head: Head, weight: Tensor, bias: Tensor) -> Head:
    """Class behind one more frame, in front of the one it has."""
    turned = weight @ head.bias
    return head._replace(
        weight=weight @ head.weight,
        bias=turned + bias,
    )


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
    delta = head.components[1:] - mu
    psi = head.log_weights
    if mu_moves:
        return with_values(mixture, k, mu=mu, delta=delta, psi=psi)
    out = with_values(mixture, k, delta=delta, psi=psi)
    return with_frame(out, k, head.weight, head.bias)
