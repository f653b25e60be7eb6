"""Calls: arguments of declared types and usual ranges, or refused in a sentence."""

__all__ = [
    "RANGES",
    "bind",
    "checked",
    "fit_arguments",
    "fitted",
    "kinds_of",
    "plain",
    "refuse_none",
    "refuse_unknown",
    "sentence_on",
]

import difflib
import functools
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# What a number of a name may be, wherever a function takes one.
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, math.inf),
    "budget_bytes": (0, math.inf),
    "calibrate_on": (1, math.inf),
    "columns": (1, math.inf),
    "components": (1, math.inf),
    "confidence": (1e-6, 1 - 1e-6),
    "damping": (0, math.inf),
    "decay": (0, 1),
    "digits": (0, math.inf),
    "distillation": (0, math.inf),
    "folds": (2, math.inf),
    "k": (1, math.inf),
    "label_smoothing": (0, 1),
    "likelihood": (0, math.inf),
    "lr": (0, math.inf),
    "max_fpr": (0, 1),
    "momentum": (0, 1),
    "most": (1, math.inf),
    "n": (1, math.inf),
    "n_clusters": (1, math.inf),
    "n_components": (1, math.inf),
    "n_draws": (1, math.inf),
    "n_epochs": (1, math.inf),
    "n_images": (1, math.inf),
    "n_iterations": (0, math.inf),
    "n_latents": (1, math.inf),
    "n_neighbors": (2, math.inf),
    "n_patches": (1, math.inf),
    "n_resamples": (1, math.inf),
    "n_steps": (0, math.inf),
    "orthogonal": (0, math.inf),
    "per_category": (1, math.inf),
    "pool": (1, math.inf),
    "processes": (1, math.inf),
    "random_state": (0, math.inf),
    "rate": (0, math.inf),
    "ratio": (0, math.inf),
    "repeats": (1, math.inf),
    "scale": (0, math.inf),
    "seed": (0, math.inf),
    "shots": (0, math.inf),
    "shrinkage": (0, math.inf),
    "sigma": (0, math.inf),
    "strength": (0, math.inf),
    "temperature": (1e-6, math.inf),
    "truncation": (0, math.inf),
    "weight": (0, math.inf),
    "weight_decay": (0, math.inf),
}

# How one comes by an object of a type.
SOURCES = {
    "Run": "fit(config) trains one, Run(path) reads one",
    "RunConfig": "RunConfig(…), or run.config",
    "Study": "study(preset) makes one",
    "Features": "run.features, or load_features(samples, config)",
    "FlowModel": "run[step].model()",
    "Model": "run[step].model()",
    "Mixture": "model.levels[i].mixture",
    "Calibration": "calibrate(model, features)",
    "DataFrame": "its docstring says which table",
    "Axes": "plt.subplots() makes one",
    "Generator": "torch.Generator().manual_seed(0)",
    "Path": "a path, as text or Path",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function refuse arguments that are not what it declares.

    NumPy's numbers become Python's, a whole number a fraction where one is declared,
    and a text alone stands for a sequence of one. Numbers lie in `RANGES`.

    Raises:
        TypeError: An argument of another type, an unknown or a missing one.
        ValueError: A number out of its range.

    Example:
        >>> @checked
        ... def repeat(words: Sequence[str], *, repeats: int = 2) -> list[str]:
        ...     return list(words) * repeats
        >>> repeat("so")
        ['so', 'so']
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def careful(*args: P.args, **options: P.kwargs) -> R:
        bound = bind(function, signature, args, options)
        fit_arguments(function, bound)
        return function(*bound.args, **bound.kwargs)

    return careful


def bind(
    function: Callable,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> inspect.BoundArguments:
    """Arguments by their names; an unknown name is told the nearest known one."""
    try:
        return signature.bind(*args, **options)
    except TypeError as error:
        known = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        unknown = [name for name in options if name not in known]
        if unknown:
            what = f"option of {function.__name__}"
            raise TypeError(sentence_on(what, unknown, known)) from None
        said = str(error)
        if "positional" in said:
            said = "the others are named, as in " + f"{known[-1]}=…"
        raise TypeError(
            f"Expected {function.__name__}({', '.join(known)}); got another call: "
            f"{said}."
        ) from None


def fit_arguments(
    function: Callable,
    bound: inspect.BoundArguments,
    ranges: Mapping[str, tuple[float, float]] = RANGES,
) -> None:
    """Give bound arguments their declared types, or refuse them.

    Args:
        function: Whose they are.
        bound: By its signature; changed in place.
        ranges: Least and largest number by name.

    Raises:
        TypeError, ValueError: As `fitted`.
    """
    hints = _hints(inspect.unwrap(function))
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        if name in hints:
            what = f"{function.__name__}({name}=…)"
            bound.arguments[name] = fitted(what, value, hints[name], ranges.get(name))


def refuse_none(function: Callable, bound: inspect.BoundArguments) -> None:
    """Refuse empty sequences where a default holds something, or there is none."""
    for name, value in bound.arguments.items():
        default = bound.signature.parameters[name].default
        if isinstance(value, (tuple, list)) and not value and default != ():
            what = f"{function.__name__}({name}=…)"
            raise ValueError(f"Expected {what} with one or more; got none.")


@functools.cache
def _hints(function: Callable) -> dict[str, Any]:
    """Declared types; none where a name in them cannot be found at run time."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        return {}


def fitted(
    what: str, value: Any, hint: Any, limits: tuple[float, float] | None = None
) -> Any:
    """A value as its declared type has it.

    Args:
        what: Whose value it is, for the error.
        value: Any value.
        hint: The declared type.
        limits: Least and largest number; of a sequence, of each.

    Raises:
        TypeError: A value of another type.
        ValueError: A number out of the limits.
    """
    value = plain(value, hint)
    if not _fits(value, hint):
        sources = [SOURCES[word] for word in _words(hint) if word in SOURCES]
        way_out = f" ({sources[0]})" if sources else ""
        raise TypeError(
            f"Expected {what} of type {' or '.join(_words(hint))}{way_out}; got "
            f"{_short(value)}."
        )
    if limits is not None:
        _check_range(what, value, *limits)
    return value


def _check_range(what: str, value: Any, low: float, high: float) -> None:
    """Refuse a number out of its limits, or a sequence that holds one."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    for number in values:
        if not isinstance(number, (int, float)):
            continue
        if not low <= number <= high or math.isinf(number):
            limits = (
                f"{low:g} or more" if high == math.inf else f"in [{low:g}, {high:g}]"
            )
            raise ValueError(f"Expected {what} {limits}; got {value!r}.")


def sentence_on(what: str, names: str | Iterable, known: Collection) -> str:
    """Sentence on names that are not known: those that are, and the nearest.

    Example:
        >>> sentence_on("part", "lopg", ["logp", "entropy"])
        "Unknown part 'lopg'; known: logp, entropy. Did you mean 'logp'?"
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    told = [str(name) for name in known]
    listed = ", ".join(told) or "none"
    near = difflib.get_close_matches(names[0], told, n=1) if names else []
    meant = f" Did you mean {near[0]!r}?" if near else ""
    unknown = ", ".join(repr(name) for name in names) or "(none given)"
    return f"Unknown {what} {unknown}; known: {listed}.{meant}"


def refuse_unknown(what: str, names: Any, known: Collection) -> None:
    """Refuse names that are not known, or none at all.

    Args:
        what: What they are names of, in the singular.
        names: One, or several.
        known: All that there are.

    Raises:
        KeyError: As `sentence_on` says.
    """
    is_several = isinstance(names, Iterable) and not isinstance(names, str)
    several = list(names) if is_several else [names]
    unknown = [name for name in several if name not in known]
    if unknown or not several:
        raise KeyError(sentence_on(what, unknown, known))


# ---- declared types


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Members of a union, or the type itself."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def plain(value: Any, hint: Any) -> Any:
    """A value in a form that is declared, where it has one.

    NumPy's numbers become Python's, a whole one a fraction, a text a sequence of one or
    a path, and whatever one can loop over a list or a tuple; so do their elements.

    Example:
        >>> plain(10, float), plain([1, 2], tuple[float, ...])
        (10.0, (1.0, 2.0))
    """
    kinds = kinds_of(hint)
    is_array = hasattr(value, "item") and hasattr(value, "dtype")
    if is_array and getattr(value, "ndim", None) == 0 and not _fits(value, hint):
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if float in kinds and int not in kinds else value
    if isinstance(value, float) and int in kinds and float not in kinds:
        return int(value) if value.is_integer() else value
    if isinstance(value, os.PathLike) and str in kinds and Path not in kinds:
        return os.fspath(value)
    if isinstance(value, str):
        if Path in kinds and str not in kinds:
            return Path(value)
        return (value,) if not _fits(value, hint) and _takes_texts(kinds) else value
    return _plain_sequence(value, kinds)


def _plain_sequence(value: Any, kinds: tuple[Any, ...]) -> Any:
    """A list or a tuple of what one can loop over, where such is declared."""
    origins = (tuple, list, Sequence)
    declared = [kind for kind in kinds if typing.get_origin(kind) in origins]
    if not declared or not isinstance(value, Collection) or _is_a_table(value):
        return value
    origin = typing.get_origin(declared[0])
    inner = typing.get_args(declared[0])
    if len(inner) == len(value) and Ellipsis not in inner and origin is tuple:
        return tuple(plain(one, kind) for one, kind in zip(value, inner))
    elements = [plain(one, inner[0]) if inner else one for one in value]
    if origin is tuple or (origin is Sequence and isinstance(value, tuple)):
        return tuple(elements)
    return elements


def _takes_texts(kinds: tuple[Any, ...]) -> bool:
    """Whether several texts are declared."""
    for kind in kinds:
        if isinstance(typing.get_origin(kind), type):
            inner = typing.get_args(kind)
            if inner and str in kinds_of(inner[0]):
                return not issubclass(typing.get_origin(kind), Mapping)
    return False


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type; a truth value is no number."""
    return any(_is_a(value, kind) for kind in kinds_of(hint))


def _is_a(value: Any, kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return True
    if isinstance(value, bool) and origin in (int, float, complex):
        return False
    if origin is float and isinstance(value, int):
        return True
    if not isinstance(value, origin):
        return False
    inner = typing.get_args(kind)
    if isinstance(value, str):
        return not inner  # no sequence of its letters
    if inner and origin in (Iterable, Sequence) and _is_a_table(value):
        return False
    if isinstance(value, (tuple, list)) and inner and origin is not tuple:
        return all(_fits(element, inner[0]) for element in value)
    if isinstance(value, tuple) and inner:
        if inner[-1] is not Ellipsis:
            return len(inner) == len(value) and all(map(_fits, value, inner))
        return all(_fits(element, inner[0]) for element in value)
    return True


def _is_a_table(value: Any) -> bool:
    """Whether one who loops over a value would see its names alone."""
    return isinstance(value, Mapping) or hasattr(value, "columns")


def _words(hint: Any) -> list[str]:
    words = []
    for kind in kinds_of(hint):
        inner = [word for one in typing.get_args(kind) for word in _words(one)]
        outer = typing.get_origin(kind) or kind
        word = getattr(outer, "__name__", str(outer))
        word = {"NoneType": "None", "Ellipsis": "…", "ellipsis": "…"}.get(word, word)
        is_shown = inner and word != "Callable"
        words.append(f"{word}[{', '.join(inner)}]" if is_shown else word)
    return words


def _short(value: Any) -> str:
    """A value in a line, with its type where it is no number, text or the like."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    told = re.sub(r"\s+", " ", repr(value))
    told = told if len(told) <= 60 else f"{told[:57]}…"
    return f"{told} of type {type(value).__name__}"
