"""Choice between a kernel and the plain formula that defines it."""

__all__ = ["differentiable_once", "pays", "plain_formulas"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch

_PLAIN = ContextVar("plain formulas", default=False)


def pays() -> bool:
    """Whether a kernel takes the place of its plain formula.

    By default it does. But its gradient is written out, and not differentiable itself:
    it gives way within the transforms of `torch.func`, and within `plain_formulas()`,
    which is for whoever wants a second derivative, as that is asked for only later.
    """
    return not (_PLAIN.get() or torch._C._are_functorch_transforms_active())


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Compute by the plain formulas within, which can be differentiated at will.

    The numbers are those of the kernels up to rounding, and take several times as long.

    Example:
        >>> with plain_formulas():
        ...     pays()
        False
        >>> pays()
        True
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a kernel's `backward` refuse to be differentiated.

    Torch's `once_differentiable` lets a gradient pass for a constant where the incoming
    one is: a penalty on it would then be without effect, and no error say so.
    """

    @wraps(backward)
    def once(ctx: Any, *grads: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Expected a gradient that is not differentiated in turn; got "
                "create_graph=True. Compute within `cl_flow.model.plain_formulas()`."
            )
        return backward(ctx, *grads)

    return once
