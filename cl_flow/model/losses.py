"""The losses of HGAD, term by term, for latents of one feature level."""

__all__ = ["LossConfig", "TERMS", "hgad_losses", "hgad_total"]

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.identity import settle
from cl_flow.model.annealing import best_neighbourhood
from cl_flow.model.kernels import objective, pays
from cl_flow.model.mixture import Mixture

TERMS = ("g", "mi", "entropy", "intra", "z")


@dataclass(frozen=True)
class LossConfig:
    """Weights of HGAD's objective.

    Args:
        mutual_information: Weight λ of the class term L_mi.
        label_smoothing: ε of the smoothed one-hot target. The margin between classes
            that it aims at grows with K.
    """

    mutual_information: float = 100.0
    label_smoothing: float = 0.02

    def __post_init__(self) -> None:
        settle(self, mutual_information=(0, math.inf), label_smoothing=(0, 1))


def hgad_losses(
    mixture: Mixture,
    z: Tensor,
    log_det: Tensor,
    y: Tensor,
    *,
    intra: bool,
    label_smoothing: float = 0.02,
) -> dict[str, Tensor]:
    r"""Terms of HGAD's objective, as means over the patches.

    With ℓ_k = −½‖z−mu_k‖² and π = softmax(phi): `g` = −[logsumexp_k(ℓ_k + log π_k) +
    log_det]/D; `mi` = Σ_k y_k (log softmax(ℓ + log π)_k − log π_k), y smoothed, π
    detached; `entropy` of softmax(ℓ); and, in the second phase, `intra` =
    −[logsumexp_m(−½‖z−mu_y−delta_ym‖² + log softmax(psi_y)_m) + log_det]/D and `z` =
    −log σ((log p(z|y) + log_det)/D), both with mu detached. While the mixture has
    `neighbours`, the logsumexp of `intra` gives way to the `best_neighbourhood` of
    components (`cl_flow.model.annealing`).

    The plain terms below define them. Where it pays
    (`cl_flow.model.kernels.choice.pays`), the kernel `objective` computes those of a
    mixture without frames or neighbours in a fraction of the time.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly
        detection (Yao et al., 2024)
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

    Example:
        >>> mixture = Mixture(6, n_components=4).expand(3)
        >>> z = mixture.mu.detach()
        >>> y = torch.arange(3)
        >>> terms = hgad_losses(mixture, z, torch.zeros(3), y, intra=False)
        >>> {name: round(term.item(), 2) for name, term in terms.items()}
        {'g': 0.18, 'mi': 0.93, 'entropy': 0.0}
    """
    is_plain = not mixture.is_framed and mixture.neighbours is None
    if is_plain and pays():
        values = objective(
            z,
            log_det,
            y,
            mixture.mu,
            mixture.delta,
            mixture.phi,
            mixture.psi,
            smoothing=label_smoothing,
            intra=intra,
        )
        return dict(zip(TERMS, values.unbind()))
    log_kernel = mixture.log_kernel(z)
    log_pi = mixture.phi.log_softmax(0)
    log_evidence = (log_kernel + log_pi).logsumexp(1) + log_det
    terms = {
        "g": -log_evidence.mean() / mixture.dim,
        "mi": _mutual_information(log_kernel, log_pi.detach(), y, label_smoothing),
        "entropy": _entropy(log_kernel),
    }
    if intra:
        terms |= _within_class(mixture, z, log_det, y)
    return terms


def _mutual_information(
    log_kernel: Tensor, log_pi: Tensor, y: Tensor, smoothing: float
) -> Tensor:
    log_posterior = (log_kernel + log_pi).log_softmax(1)
    gain = log_posterior - log_pi
    n_patches = len(log_kernel) // len(y)
    y = y.repeat_interleave(n_patches)
    given = gain.gather(1, y[:, None])
    return (1 - smoothing) * given.mean() + smoothing * gain.mean()


def _entropy(log_kernel: Tensor) -> Tensor:
    log_p = log_kernel.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    return entropy.mean()


def _within_class(
    mixture: Mixture, z: Tensor, log_det: Tensor, y: Tensor
) -> dict[str, Tensor]:
    log_kernel = mixture.log_kernel_within(z, y, detach_mu=True)
    log_p = log_kernel.logsumexp(-1).flatten()
    log_joint = log_p + log_det
    constant = 0.5 * mixture.dim * math.log(2 * math.pi)
    surplus = (log_joint - constant) / mixture.dim
    raised = log_joint
    if mixture.neighbours is not None:
        best = best_neighbourhood(log_kernel, mixture.neighbours)
        raised = best.flatten() + log_det
    return {
        "intra": -raised.mean() / mixture.dim,
        "z": -F.logsigmoid(surplus).mean(),
    }


def hgad_total(terms: dict[str, Tensor], config: LossConfig | None = None) -> Tensor:
    """L_g − λ L_mi + L_e, and + L_intra + L_z where the terms hold them."""
    config = config or LossConfig()
    values = torch.stack(list(terms.values()))
    weights = _weights(
        tuple(terms),
        config.mutual_information,
        values.device,
        values.dtype,
    )
    return values @ weights


@cache
def _weights(
    names: tuple[str, ...],
    mutual_information: float,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Weight of each term.

    They are made once: a tensor sent to a GPU in every step would have the step wait
    for it.
    """
    weights = [-mutual_information if name == "mi" else 1.0 for name in names]
    return torch.tensor(weights, dtype=dtype).to(device)
