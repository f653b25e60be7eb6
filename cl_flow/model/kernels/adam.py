"""Adam in one call for all parameters alike, without what torch's own optimizers ask of
each in every step.
"""

__all__ = ["FusedAdam"]

from collections.abc import Sequence
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
        means, squares = (
            [torch.zeros_like(parameter) for parameter in parameters] for _ in range(2)
        )
        count = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
        return cls(parameters, weight_decay, means, squares, count)


class FusedAdam:
    """Adam with coupled weight decay; a parameter joins at its first gradient, and
    moves from then on.

    References:
        Adam: a method for stochastic optimization (Kingma & Ba, 2015)
        https://arxiv.org/abs/1412.6980

    Args:
        groups: Parameters and their `weight_decay`, as for torch's optimizers;
            gradients of before are forgotten.
        betas: Decay rates of both moments.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], *, betas: tuple[float, float]
    ) -> None:
        self._waiting = [
            (list(group["params"]), group["weight_decay"]) for group in groups
        ]
        for parameters, _ in self._waiting:
            for parameter in parameters:
                parameter.grad = None
        self._bundles: list[_Bundle] = []
        self._betas = betas

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every parameter that has had a gradient, and leave no gradient behind;
        one that is missing counts as 0.

        Gradients lie in memory as their parameters do, as autograd leaves them.
        """
        for waiting, weight_decay in self._waiting:
            fresh = [parameter for parameter in waiting if parameter.grad is not None]
            if fresh:
                self._bundles.append(_Bundle.of(fresh, weight_decay))
                waiting[:] = [
                    parameter for parameter in waiting if parameter.grad is None
                ]
        for bundle in self._bundles:
            self._move(bundle, lr)
            for parameter in bundle.parameters:
                parameter.grad = None

    def _move(self, bundle: _Bundle, lr: float) -> None:
        grads = [
            p.grad if p.grad is not None else torch.zeros_like(p)
            for p in bundle.parameters
        ]
        torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls, with one count of steps for all
            bundle.parameters,
            grads,
            bundle.means,
            bundle.squares,
            [],
            len(grads) * [bundle.count.add_(1)],
            lr=lr,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=bundle.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
