"""Mixtures with one class set anew."""

__all__ = ["with_frame", "with_values"]

from torch import Tensor

from cl_flow.align.affine import frames_of
from cl_flow.model.mixture import Mixture


def with_values(mixture: Mixture, k: int, **values: Tensor) -> Mixture:
    """The mixture with other values of `mu`, `delta` or `psi` for class k."""
    rows = {}
    for name, value in values.items():
        rows[name] = getattr(mixture, name).detach().clone()
        rows[name][k] = value.to(rows[name])
    return mixture.replace(**rows)


def with_frame(
    mixture: Mixture,
    k: int,
    weight: Tensor,
    bias: Tensor,
) -> Mixture:
    """The mixture with another frame for class k.

    The other classes keep theirs, or look at the latents as they are.
    """
    weights, biases = frames_of(mixture).copy()
    weights[k] = weight.to(weights)
    biases[k] = bias.to(biases)
    return mixture.framed(weights, biases)
