"""What differs from the defaults, whatever type it came in and whatever is added."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from cl_flow.identity import completed, differing, digest_of, typed


@dataclass(frozen=True)
class Inner:
    width: float = 1.0
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    n: int = 3
    rate: float | None = None
    split: int | tuple[int, ...] = 3
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class WiderInner(Inner):
    added: str = "as it was"


@dataclass(frozen=True)
class Wider(Outer):
    inner: WiderInner = field(default_factory=WiderInner)
    added: int = 7


@pytest.mark.parametrize("changes", [{}, {"n": 4}, {"rate": 2.0}, {"split": (2, 1)}])
def test_a_field_that_is_added_with_a_default_is_in_no_difference(changes):
    assert differing(Outer(**changes)) == differing(Wider(**changes))
    assert differing(Wider(added=8, **changes)) != differing(Outer(**changes))


@pytest.mark.parametrize(("same", "other"), [
    (Outer(rate=10), Outer(rate=10.0)),
    (Outer(n=3.0), Outer()),
    (Outer(n=np.int64(5)), Outer(n=5)),
    (Outer(rate=np.float64(0.5)), Outer(rate=0.5)),
    (Outer(split=[2, 1]), Outer(split=(2, 1))),
    (Outer(inner=Inner(sizes=[np.int32(1), 2.0])), Outer()),
    (Outer(inner=Inner(width=1)), Outer()),
])  # fmt: skip
def test_the_declared_type_decides_how_a_number_is_taken(same, other):
    assert digest_of(differing(same), 8) == digest_of(differing(other), 8)


@pytest.mark.parametrize("one", [Outer(), Outer(n=4), Outer(inner=Inner(width=2))])
@pytest.mark.parametrize("other", [Outer(rate=0.0), Outer(split=4), Outer(n=5)])
def test_what_differs_differs(one, other):
    assert digest_of(differing(one), 8) != digest_of(differing(other), 8)


@pytest.mark.parametrize(("value", "hint", "taken"), [
    (10, float, 10.0),
    (10, float | None, 10.0),
    (10, int | float, 10),
    (2.0, int, 2),
    (2.5, int, 2.5),
    (True, float, True),
    (None, float | None, None),
    ("a", str, "a"),
    ([1, 2], tuple[float, ...], (1.0, 2.0)),
])  # fmt: skip
def test_typed(value, hint, taken):
    assert typed(value, hint) == taken and type(typed(value, hint)) is type(taken)


class Method:
    def __init__(self, *, strength: float = 1.0, kept=3, name: str = "a") -> None: ...


def test_options_are_completed_by_the_methods_own_defaults():
    assert completed(Method, {}) == {"strength": 1.0, "kept": 3, "name": "a"}
    whole = completed(Method, {"strength": 10, "kept": 4.0})
    assert whole == {"strength": 10.0, "kept": 4, "name": "a"}
    assert type(whole["strength"]) is float and type(whole["kept"]) is int


def test_options_of_a_method_of_ones_own_are_in_no_range_of_ours():
    class Mine:
        def __init__(self, *, rate: float = -1.0, n: int = 0, k: int = -3) -> None: ...

    whole = {"rate": -2.0, "n": -1, "k": 0}
    assert completed(Mine, whole) == whole
    assert completed(Mine, {}) == {"rate": -1.0, "n": 0, "k": -3}


def test_an_unknown_option_is_named_beside_the_known_ones():
    with pytest.raises(
        TypeError, match="Unknown option of Method 'force'.*known: strength, kept"
    ):
        completed(Method, {"force": 1})


def test_a_field_without_a_default_always_differs():
    @dataclass
    class Needed:
        value: int

    assert differing(Needed(1)) == {"value": 1}
    assert dataclasses.fields(Needed)[0].default is dataclasses.MISSING
