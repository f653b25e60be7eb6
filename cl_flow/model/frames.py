"""Frames: affine views of the latents, one for each class."""

__all__ = ["Frames"]

from typing import NamedTuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """Views u = W_k z + b_k that classes have of the latents z.

    Args:
        weight: W (K, D, D), each invertible.
        bias: b (K, D).
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def about(cls, mu: Tensor, weight: Tensor) -> "Frames":
        """Views u = W_k (z − mu_k) + mu_k, in which mu (K, D) lies where it lies."""
        moved = weight @ mu[..., None]
        return cls(weight, mu - moved[..., 0])

    @property
    def log_volume(self) -> Tensor:
        """log|det W_k| (K,)."""
        return torch.linalg.slogdet(self.weight).logabsdet

    def check(self, n_classes: int, dim: int) -> None:
        """Refuse frames that a mixture of so many classes and dimensions cannot use.

        Raises:
            ValueError: Another shape, or a weight that is singular or not finite.
        """
        expected = f"{(n_classes, dim, dim)} and {(n_classes, dim)}"
        weight = tuple(self.weight.shape)
        bias = tuple(self.bias.shape)
        got = f"{weight} and {bias}"
        if got != expected:
            raise ValueError(f"Expected frames of shapes {expected}; got {got}.")
        infinite = ~self.log_volume.isfinite()
        bad = infinite.nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                "Expected frames of finite, non-zero volume; "
                f"got none such for classes {bad}."
            )

    def of_images(self, z: Tensor, y: Tensor) -> Tensor:
        """u (B, n, D) of latents (B, n, D), each image in the frame of its class."""
        weight = self.weight[y]
        bias = self.bias[y][:, None]
        return torch.baddbmm(bias, z, weight.mT)

    def copy(self) -> "Frames":
        """The same values in memory of their own, without a gradient."""
        weight = self.weight.detach()
        bias = self.bias.detach()
        return Frames(weight.clone(), bias.clone())

    def subset(self, classes: Tensor) -> "Frames":
        """The frames of the given classes (n,)."""
        weight = self.weight[classes]
        bias = self.bias[classes]
        return Frames(weight.clone(), bias.clone())

    def extend(self, n: int) -> "Frames":
        """The same, and `n` more that leave z as it is."""
        weight, bias = self
        dim = bias.shape[1]
        eye = torch.eye(dim, dtype=weight.dtype, device=weight.device)
        same = eye.expand(n, -1, -1)
        zero = bias.new_zeros(n, dim)
        return Frames(
            torch.cat([weight, same]),
            torch.cat([bias, zero]),
        )
