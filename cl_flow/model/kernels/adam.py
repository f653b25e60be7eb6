"""Adam in one call for all parameters alike.

Torch's own optimizers ask much of each parameter in every step; this one does not.
"""

__all__ = ["FusedAdam"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class _Bundle:
    """Parameters that began to move in the same step, and their moments."""

    parameters: list[nn.Parameter]
    weight_decay: float
    means: list[Tensor]
    squares: list[Tensor]
    count: Tensor

    @classmethod
    def of(cls, parameters: list[nn.Parameter], weight_decay: float) -> "_Bundle":
        means = [torch.zeros_like(parameter) for parameter in parameters]
        squares = [torch.zeros_like(parameter) for parameter in parameters]
        count = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
        return cls(parameters, weight_decay, means, squares, count)


class FusedAdam:
    """Adam with coupled weight decay.

    A parameter joins at its first gradient, and moves from then on.

    References:
        Adam: a method for stochastic optimization (Kingma & Ba, 2015)
        https://arxiv.org/abs/1412.6980

    Args:
        groups: Parameters and their `weight_decay`, as for torch's optimizers;
            gradients of before are forgotten.
        betas: Decay rates of both moments.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        betas: tuple[float, float],
    ) -> None:
        self._waiting = [
            (list(group["params"]), group["weight_decay"]) for group in groups
        ]
        self._bundles: list[_Bundle] = []
        self._betas = betas
        for parameters, _ in self._waiting:
            for parameter in parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """Move every parameter that has had a gradient, and leave no gradient behind.

        A rate that is a tensor on the parameters' device may change between replays.

        A gradient that is missing counts as 0. Gradients lie in memory as their
        parameters do, as autograd leaves them.
        """
        self._admit()
        for bundle in self._bundles:
            self._move(bundle, lr)
            for parameter in bundle.parameters:
                parameter.grad = None

    @torch.no_grad()
    def restart(self, where: Mapping[nn.Parameter, Tensor]) -> None:
        """Forget the moments of some elements, and every gradient, without a step.

        Args:
            where: Which elements of these parameters (a mask of the parameter's shape).
        """
        for bundle in self._bundles:
            moments = zip(bundle.parameters, bundle.means, bundle.squares)
            for parameter, mean, square in moments:
                if parameter in where:
                    mean.masked_fill_(where[parameter], 0.0)
                    square.masked_fill_(where[parameter], 0.0)
        bundled = [bundle.parameters for bundle in self._bundles]
        for parameters in (*bundled, *(waiting for waiting, _ in self._waiting)):
            for parameter in parameters:
                parameter.grad = None

    def _admit(self) -> None:
        """Bundle the waiting parameters that now have a gradient."""
        for waiting, weight_decay in self._waiting:
            fresh = [parameter for parameter in waiting if parameter.grad is not None]
            if fresh:
                self._bundles.append(_Bundle.of(fresh, weight_decay))
                waiting[:] = [
                    parameter for parameter in waiting if parameter.grad is None
                ]

    def _move(self, bundle: _Bundle, lr: float | Tensor) -> None:
        grads = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in bundle.parameters
        ]
        bundle.count.add_(1)
        # Called by torch.optim.Adam(fused=True), which counts steps for each parameter.
        torch._fused_adam_(
            bundle.parameters,
            grads,
            bundle.means,
            bundle.squares,
            [],
            len(grads) * [bundle.count],
            lr=lr,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=bundle.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
