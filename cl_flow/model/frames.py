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

    @property
    def log_volume(self) -> Tensor:
        """log|det W_k| (K,)."""
        return torch.linalg.slogdet(self.weight).logabsdet

    def check(self, n_classes: int, dim: int) -> None:
        """Refuse frames that a mixture of so many classes and dimensions cannot use.

        Raises:
            ValueError: Another shape, or a weight that is singular or not finite.
        """
        shape = (n_classes, dim, dim)
        weight = tuple(self.weight.shape)
        bias = tuple(self.bias.shape)
        if (weight, bias) != (shape, shape[:2]):
            raise ValueError(
                f"Expected frames of shapes {shape} and {shape[:2]}; "
                f"got {weight} and {bias}."
            )
        bad = (~self.log_volume.isfinite()).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                "Expected frames of finite, non-zero volume; "
                f"got none such for classes {bad}."
            )

    def of_class(self, z: Tensor, k: int) -> Tensor:
        """u (N, D) of latents (N, D) in the frame of one class."""
        return torch.addmm(self.bias[k], z, self.weight[k].T)

    def of_images(self, z: Tensor, y: Tensor) -> Tensor:
        """u (B, n, D) of latents (B, n, D), each image in the frame of its class."""
        return torch.baddbmm(self.bias[y][:, None], z, self.weight[y].mT)

    def copy(self) -> "Frames":
        """The same values in memory of their own, without a gradient."""
        return Frames(self.weight.detach().clone(), self.bias.detach().clone())

    def subset(self, classes: Tensor) -> "Frames":
        """The frames of the given classes (n,)."""
        return Frames(self.weight[classes].clone(), self.bias[classes].clone())

    def extend(self, n: int) -> "Frames":
        """The same, and `n` more that leave z as it is."""
        dim = self.bias.shape[1]
        eye = torch.eye(dim, dtype=self.weight.dtype, device=self.weight.device)
        weight = torch.cat([self.weight, eye.expand(n, -1, -1)])
        bias = torch.cat([self.bias, self.bias.new_zeros(n, dim)])
        return Frames(weight, bias)
