"""Moments inside a training step.

What gradient flows through them, and centers that follow a natural gradient.
"""

__all__ = ["MODES", "moments", "natural_step"]

import torch
from torch import Tensor

from cl_flow.align.statistics.algebra import over_vectors, positive
from cl_flow.align.statistics.gaussian import GaussianStats

MODES = ("stop", "pathwise")


def moments(z: Tensor, weights: Tensor, *, mode: str = "stop") -> GaussianStats:
    r"""Statistics of latents within a graph.

    They serve a loss that holds its mixture at their maximum-likelihood values.

    - `stop`: no gradient flows through them. Of a loss that they
      minimise, such as $-\sum r \ln \mathcal N(z; m, S/n)$,
      that is the exact gradient nevertheless (the envelope theorem).
    - `pathwise`: they are part of the graph, and the gradient is exact for every loss,
      discriminative ones included.

    The third mode keeps centers of its own beside the graph: `natural_step`.

    References:
        Envelope theorems for arbitrary choice sets (Milgrom and Segal, 2002)
        https://doi.org/10.1111/1468-0262.00296

    Args:
        z: Latents (N, D).
        weights: Responsibilities (N, K).
        mode: `"stop"` or `"pathwise"`.

    Raises:
        KeyError: Unknown mode.
    """
    if mode not in MODES:
        raise KeyError(
            f"Unknown gradient mode {mode!r}; known: {', '.join(MODES)}, "
            "and the function natural_step."
        )
    if mode == "stop":
        z = z.detach()
        weights = weights.detach()
    return GaussianStats.of(z, weights)


def natural_step(
    mu: Tensor,
    batch: GaussianStats,
    gradient: Tensor | None = None,
    *,
    rate: float,
    weight: float = 1.0,
) -> Tensor:
    r"""Centers (K, D) after one step of natural gradient.

    The loss is the generative one plus `weight` times the discriminative one.

    The Fisher information of unit-covariance centers is $\mathrm{diag}(\pi_k)$, so that
    $$\mu_k \leftarrow \mu_k + \gamma\,(m_k - \mu_k)
    - \gamma \tfrac{\lambda}{\pi_k} \nabla_{\mu_k} L_\mathrm{disc}.$$
    Without the last term and with γ = 1/t it is the running mean of the batch means;
    centers of classes that the batch does not hold stay.

    References:
        Natural gradient works efficiently in learning (Amari, 1998)
        https://doi.org/10.1162/089976698300017746

    Args:
        mu: Centers (K, D).
        batch: Statistics of the batch, of K components.
        gradient: Of the discriminative loss by the centers (K, D); none by default.
        rate: γ.
        weight: λ.
    """
    share = batch.n / batch.n.sum()
    step = batch.mean - mu
    if gradient is not None:
        share = positive(share)
        step = step - weight * gradient / over_vectors(share)
    held = over_vectors(batch.n) > 0
    after = torch.where(held, mu + rate * step, mu)
    return after.detach()
