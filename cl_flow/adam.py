"""Adam over one long vector per group in place of many short tensors: the same update, in a tenth of the calls."""

__all__ = ["FlatAdam"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


@dataclass
class _Bundle:
    """Parameters that are views of one vector, as their gradients are of its gradient, and the vector's moments."""

    parameters: list[nn.Parameter]
    weight_decay: float
    grads: list[Tensor]
    flat: Tensor
    grad: Tensor
    state: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, parameters: list[nn.Parameter], weight_decay: float) -> "_Bundle":
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        grad = torch.cat([parameter.grad.flatten() for parameter in parameters])
        sizes = [parameter.numel() for parameter in parameters]
        grads = [values.view_as(p) for values, p in zip(grad.split(sizes), parameters)]
        for parameter, values, own in zip(parameters, flat.split(sizes), grads):
            parameter.data, parameter.grad = values.view_as(parameter), own
        state = torch.zeros_like(flat), torch.zeros_like(flat), flat.new_zeros(())
        return cls(parameters, weight_decay, grads, flat, grad, state)

    def collect(self) -> None:
        """Take the gradients that someone put in place of the views."""
        for parameter, grad in zip(self.parameters, self.grads):
            if parameter.grad is not grad:
                parameter.grad = grad.zero_() if parameter.grad is None else grad.copy_(parameter.grad)


class FlatAdam:
    """Adam with coupled weight decay; a parameter joins at its first gradient, and moves from then on.

    References:
        Adam: a method for stochastic optimization (Kingma & Ba, 2015) https://arxiv.org/abs/1412.6980

    Args:
        groups: Parameters and their `weight_decay`, as for torch's optimizers.
        betas: Decay rates of both moments.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, betas: tuple[float, float]) -> None:
        self._waiting = [(list(group["params"]), group["weight_decay"]) for group in groups]
        for parameters, _ in self._waiting:
            for parameter in parameters:
                parameter.grad = None
        self._bundles: list[_Bundle] = []
        self._betas = betas

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every parameter that has had a gradient, and clear the gradients."""
        for waiting, weight_decay in self._waiting:
            fresh = [parameter for parameter in waiting if parameter.grad is not None]
            if fresh:
                self._bundles.append(_Bundle.of(fresh, weight_decay))
                waiting[:] = [parameter for parameter in waiting if parameter.grad is None]
        for bundle in self._bundles:
            bundle.collect()
            self._move(bundle, lr)
            bundle.grad.zero_()

    def _move(self, bundle: _Bundle, lr: float) -> None:
        mean, square, count = bundle.state
        adam(
            [bundle.flat],
            [bundle.grad],
            [mean],
            [square],
            [],
            [count],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=lr,
            weight_decay=bundle.weight_decay,
            eps=1e-8,
            maximize=False,
        )

    def close(self) -> None:
        """Give every parameter memory of its own again, and no gradient."""
        for bundle in self._bundles:
            for parameter in bundle.parameters:
                parameter.data, parameter.grad = parameter.data.clone(), None
