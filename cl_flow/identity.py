"""Identity of configurations: what differs from the defaults, by declared types."""

__all__ = ["completed", "differing", "digest_of", "settle", "typed"]

import dataclasses
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from cl_flow.calls import RANGES, fitted, plain, sentence_on


def differing(config: Any) -> dict[str, Any]:
    """Fields of a dataclass that differ from their defaults.

    As JSON holds them.

    A field that is added later, with a default, is in no earlier configuration's
    difference: what is hashed of it stays the same.

    Args:
        config: An instance of a dataclass; dataclasses in its fields are compared in
            their turn.

    Example:
        >>> @dataclasses.dataclass
        ... class Shape:
        ...     width: float = 1.0
        ...     height: float = 1.0
        >>> differing(Shape(width=1, height=2))
        {'height': 2.0}
    """
    hints = typing.get_type_hints(type(config))
    out = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            inner = differing(value)
            if inner:
                out[field.name] = inner
            continue
        value = typed(value, hints[field.name])
        if value != _default(field):
            out[field.name] = value
    return out


def settle(config: Any, **ranges: tuple[float, float]) -> None:
    """Give the fields of a frozen dataclass their declared types, or refuse them.

    For `__post_init__`: what a run is then holds no NumPy number and no list, and
    nothing that means nothing.

    Args:
        config: An instance of a dataclass.
        **ranges: Least and largest value of a field, or of each element of a tuple,
            where it is not in `cl_flow.calls.RANGES`; None is in every range.

    Raises:
        TypeError: A value of another type.
        ValueError: A number outside its range.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Shape:
        ...     width: float = 1.0
        ...     def __post_init__(self):
        ...         settle(self, width=(0, 10))
        >>> Shape(3)
        Shape(width=3.0)
    """
    kind = type(config)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(config):
        name = field.name
        value = fitted(
            f"{kind.__name__}({name}=…)",
            typed(getattr(config, name), hints[name]),
            hints[name],
            ranges.get(name, RANGES.get(name)),
        )
        object.__setattr__(config, name, value)


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def completed(function: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by declared types, completed by the function's defaults.

    Args:
        function: A function or a class; an option without a declared type has that of
            its default.
        options: Keyword arguments.

    Raises:
        TypeError: An option that the function does not take, or of another type.
        ValueError: A number of ours out of its range (`cl_flow.calls.RANGES`).

    Example:
        >>> def train(*, lr: float = 0.1, epochs: int = 4): ...
        >>> completed(train, {"lr": 1})
        {'lr': 1.0, 'epochs': 4}
    """
    initial = function.__init__ if isinstance(function, type) else function
    hints = typing.get_type_hints(initial)
    taken = inspect.signature(function).parameters
    unknown = [name for name in options if name not in taken]
    if unknown:
        what = f"option of {function.__name__}"
        raise TypeError(sentence_on(what, unknown, taken))
    defaults = {name: parameter.default for name, parameter in taken.items()}
    # A method of the user's own may mean something else by a name.
    is_ours = function.__module__.startswith("cl_flow.")
    ranges = RANGES if is_ours else {}
    out = {}
    for name, value in {**defaults, **options}.items():
        out[name] = typed(value, hints.get(name, type(defaults[name])))
        if name in hints:
            what = f"{function.__name__}({name}=…)"
            out[name] = fitted(what, out[name], hints[name], ranges.get(name))
    return out


def typed(value: Any, hint: Any) -> Any:
    """Value as its declared type has it.

    10 is 10.0 where a float is declared.

    NumPy's numbers become Python's, lists become tuples; what fits no declared type
    stays as it is.

    Args:
        value: Any value.
        hint: A type, a union of types, or a tuple type.

    Example:
        >>> typed(10, float), typed([1, 2], tuple[float, ...])
        (10.0, (1.0, 2.0))
    """
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    value = plain(value, hint)
    return tuple(value) if isinstance(value, list) else value


def digest_of(facts: Any, length: int) -> str:
    """Hexadecimal digest of what JSON can hold.

    Whatever the order of its keys.
    """
    text = json.dumps(facts, sort_keys=True, default=repr)
    return blake2b(text.encode()).hexdigest()[:length]
