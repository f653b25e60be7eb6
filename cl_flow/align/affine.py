"""Affine maps of latents, and the mixtures whose classes they carry along."""

__all__ = ["HEADS", "centers", "frames_of", "least_squares", "moved"]

import torch
from torch import Tensor

from cl_flow.align.statistics.algebra import eye_like
from cl_flow.calls import refuse_unknown
from cl_flow.model.frames import Frames
from cl_flow.model.mixture import Mixture

HEADS = ("means", "full")


def moved(
    mixture: Mixture,
    classes: tuple[int, ...],
    weight: Tensor,
    bias: Tensor,
    *,
    head: str = "full",
) -> Mixture:
    r"""Mixture after the latents of some classes moved by z′ = Az + b.

    With the head `full` the class moves along, shape and all: a class that looks at u =
    Wz + c then looks at $WA^{-1}z' + c - WA^{-1}b$, and its density at z′ is that at z
    over |det A|. With `means` only its main center goes where the map takes it, and
    everything else of the class goes with the center.

    Args:
        mixture: What it was.
        classes: Ids of the classes that moved (n,).
        weight: A (n, D, D).
        bias: b (n, D).
        head: `"means"` or `"full"`.

    Raises:
        KeyError: Unknown head.

    Example:
        >>> mixture = Mixture(3, n_components=2).expand(2, init="orthogonal")
        >>> double = 2 * torch.eye(3)[None]
        >>> after = moved(mixture, (0,), double, torch.ones(1, 3))
        >>> expected = 2 * mixture.mu[0] + 1
        >>> torch.allclose(centers(after)[0], expected, atol=1e-5)
        True
        >>> torch.equal(centers(after)[1], mixture.mu[1])
        True
    """
    refuse_unknown("head", head, HEADS)
    ids = list(classes)
    weight = weight.to(mixture.mu)
    bias = bias.to(mixture.mu)
    if head == "means":
        return _with_moved_centers(mixture, ids, weight, bias)
    W, c = frames_of(mixture).copy()
    W[ids] = torch.linalg.solve(weight.mT, W[ids].mT).mT
    c[ids] -= _applied(W[ids], bias)
    return mixture.framed(W, c)


def _with_moved_centers(
    mixture: Mixture,
    ids: list[int],
    weight: Tensor,
    bias: Tensor,
) -> Mixture:
    z = centers(mixture)[ids]
    goal = _applied(weight, z) + bias
    if mixture.frames is None:
        mu = mixture.mu.detach().clone()
        mu[ids] = goal
        return mixture.replace(mu=mu)
    W, c = mixture.frames.copy()
    c[ids] -= _applied(W[ids], goal - z)
    return mixture.framed(W, c)


def frames_of(mixture: Mixture) -> Frames:
    """The frames of a mixture, identities where there are none."""
    if mixture.frames is not None:
        return mixture.frames
    mu = mixture.mu.detach()
    weight = eye_like(mu).repeat(len(mu), 1, 1)
    return Frames(weight, torch.zeros_like(mu))


def centers(mixture: Mixture) -> Tensor:
    """Main centers (K, D) among the latents.

    There u = Wz + b is mu.
    """
    mu = mixture.mu
    if mixture.frames is None:
        return mu.detach()
    weight, bias = mixture.frames
    gap = (mu - bias).detach()
    z = torch.linalg.solve(weight, gap[..., None])
    return z[..., 0]


def _applied(weight: Tensor, vectors: Tensor) -> Tensor:
    """Products (n, D) of matrices (n, D, D) and vectors (n, D)."""
    products = weight @ vectors[..., None]
    return products[..., 0]


def least_squares(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Affine map y ≈ Ax + b that leaves the least squared error.

    Args:
        x: Points (N, D).
        y: Where each goes (N, E).

    Returns:
        A (E, D) and b (E,).
    """
    start, end = x.mean(0), y.mean(0)
    slopes = torch.linalg.lstsq(x - start, y - end, driver="gelsd").solution
    return slopes.T, end - start @ slopes
