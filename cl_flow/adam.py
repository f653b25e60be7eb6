"""Adam over one long vector per group in place of many short tensors: the same update, in a tenth of the calls."""

__all__ = ["FlatAdam"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Bundle:
    """Parameters that are views of one vector, as their gradients are of its gradient."""

    parameters: list[nn.Parameter]
    grads: list[Tensor]
    flat: nn.Parameter

    @classmethod
    def of(cls, parameters: list[nn.Parameter]) -> "_Bundle":
        flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        flat.grad = torch.zeros_like(flat)
        sizes = [parameter.numel() for parameter in parameters]
        views = [values.view_as(p) for values, p in zip(flat.detach().split(sizes), parameters)]
        grads = [values.view_as(p) for values, p in zip(flat.grad.split(sizes), parameters)]
        for parameter, values, grad in zip(parameters, views, grads):
            parameter.data = values
            parameter.grad = grad.copy_(parameter.grad)
        return cls(parameters, grads, flat)

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
        self._optimizer: torch.optim.Adam | None = None

    def step(self, lr: float) -> None:
        """Move every parameter that has had a gradient, and clear the gradients."""
        for waiting, weight_decay in self._waiting:
            self._admit(waiting, weight_decay)
        if self._optimizer is None:
            return
        for bundle in self._bundles:
            bundle.collect()
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)

    def _admit(self, waiting: list[nn.Parameter], weight_decay: float) -> None:
        fresh = [parameter for parameter in waiting if parameter.grad is not None]
        if not fresh:
            return
        waiting[:] = [parameter for parameter in waiting if parameter.grad is None]
        bundle = _Bundle.of(fresh)
        self._bundles.append(bundle)
        group = {"params": [bundle.flat], "weight_decay": weight_decay}
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam([group], betas=self._betas, fused=True)
        else:
            self._optimizer.add_param_group(group)

    def close(self) -> None:
        """Give every parameter memory of its own again, and no gradient."""
        for bundle in self._bundles:
            for parameter in bundle.parameters:
                parameter.data, parameter.grad = parameter.data.clone(), None
