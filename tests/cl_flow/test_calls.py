"""Whoever calls a public function wrongly is told what was expected, by us."""

import importlib
import inspect
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest

import analysis
import cl_flow
from analysis import Scoring, evaluate
from analysis.intervals import Resampling
from analysis.rows import of_tables
from cl_flow.calls import RANGES, checked, fitted, refuse_unknown, sentence_on

OURS = ("cl_flow", "analysis")
REPOSITORY = Path(__file__).resolve().parents[2]


# ---- one value


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        (3.0, int, 3),
        (np.float32(0.5), float, 0.5),
        (np.int64(3), int | None, 3),
        (np.arange(2), Sequence[int], [0, 1]),
        ("logp", Sequence[str], ("logp",)),
        ("logp", Sequence[str | None], ("logp",)),
        ("logp", str | Path, "logp"),
        (None, float | None, None),
        (["a", None], Sequence[str | None], ["a", None]),
        ((4, 4), tuple[int, int], (4, 4)),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        (len, Callable, len),
        ("all", typing.Literal["all", "none"], "all"),
    ],
)
def test_a_value_takes_its_declared_type(value, hint, expected):
    got = fitted("f(x=…)", value, hint)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("3", int),
        (3.5, int),
        (True, int),
        (True, float),
        (1, bool),
        (None, int),
        (3, str),
        (b"logp", str),
        ("abc", Sequence[int]),
        (["a", 3], Sequence[str]),
        ((4, 4, 4), tuple[int, int]),
        ((4, "4"), tuple[int, ...]),
        (3, Sequence[int]),
        (3, Callable),
        (["a"], Mapping[str, int]),
        ("some", typing.Literal["all", "none"]),
        (object(), Path),
    ],
)
def test_a_value_of_another_type_is_refused(value, hint):
    with pytest.raises(TypeError, match=r"^Expected f\(x=…\) of type .*; got "):
        fitted("f(x=…)", value, hint)


@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_the_range_of_its_name_is_refused(name):
    low, high = RANGES[name]
    assert fitted("x", low, float, RANGES[name]) == low
    for value in (low - 1, float("nan"), *([high + 1] if np.isfinite(high) else [])):
        with pytest.raises(ValueError, match="^Expected x .*; got"):
            fitted("x", value, float, RANGES[name])


def test_the_nearest_name_is_told():
    assert sentence_on("part", "entropi", ["logp", "entropy"]) == (
        "Unknown part 'entropi'; known: logp, entropy. Did you mean 'entropy'?"
    )
    assert "mean" not in sentence_on("part", "zzz", ["logp", "entropy"])
    refuse_unknown("part", ["logp"], ["logp", "entropy"])
    for wrong in ("zzz", ["logp", "zzz"], [], None):
        with pytest.raises(KeyError, match="Unknown part .*; known: logp, entropy"):
            refuse_unknown("part", wrong, ["logp", "entropy"])


def test_a_checked_function_says_which_option_it_does_not_know():
    @checked
    def measure(run: int, *, confidence: float = 0.95) -> float:
        """Measure."""
        return confidence

    assert measure(1, confidence=np.float64(0.5)) == 0.5
    with pytest.raises(TypeError, match="'confidnce'; known: run, confidence. Did you"):
        measure(1, confidnce=0.5)
    with pytest.raises(TypeError, match=r"Expected measure\(run.*missing a required"):
        measure()
    with pytest.raises(ValueError, match=r"measure\(confidence=…\) in .*; got 95"):
        measure(1, confidence=95)


# ---- tables


def test_the_wrong_table_is_told_by_the_column_it_lacks():
    @of_tables
    def mean(rows: pd.DataFrame) -> float:
        """Mean.

        Args:
            rows: Of `evaluate`.
        """
        return rows["value"].mean()

    @of_tables
    def of_a_part(rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of a part."""
        return rows.query("part == 'product'").groupby(["part", "value"]).size()

    @of_tables
    def broken(rows: pd.DataFrame) -> int:
        """Look for a key that has nothing to do with the table."""
        return {}["value"]

    other = pd.DataFrame({"a": [1], "b": [2]})
    expected = r"mean\(rows=…\) \(Of `evaluate`\) with a column 'value'; got .* a, b"
    with pytest.raises(ValueError, match=expected):
        mean(other)
    with pytest.raises(ValueError, match="column 'part'"):
        of_a_part(other)
    with pytest.raises(ValueError, match="with rows; got a table without any"):
        mean(other[:0])
    with pytest.raises(TypeError, match="of type DataFrame .*; got 'a text'"):
        mean("a text")
    with pytest.raises(KeyError, match="^'value'$"):
        broken(other)


# ---- the law: every public function, every argument


def public() -> dict[str, Callable]:
    """What `analysis`, its rooms and `cl_flow` offer, by name."""
    rooms = [
        f"analysis.{path.parent.name}"
        for path in REPOSITORY.glob("analysis/*/__init__.pyi")
    ]
    found = {}
    for name in ("analysis", "cl_flow", *rooms):
        module = importlib.import_module(name)
        for key in module.__all__:
            value = getattr(module, key)
            if inspect.isfunction(value) and value.__module__.startswith(OURS):
                found[key] = value
    return found


PUBLIC = public()
# They take whatever there is, or decorate.
OPEN = {"table", "task_color", "chosen", "growth"}


class Stranger:
    """Of no type that anything declares."""

    def __repr__(self) -> str:
        return "a stranger"


def arguments() -> list[tuple[str, str]]:
    found = []
    for name, function in PUBLIC.items():
        if name in OPEN:
            continue
        hints = typing.get_type_hints(inspect.unwrap(function))
        for parameter in inspect.signature(function).parameters.values():
            is_open = hints.get(parameter.name) in (None, object, typing.Any)
            if parameter.kind is not parameter.VAR_KEYWORD and not is_open:
                found.append((name, parameter.name))
    return found


@pytest.mark.parametrize(("name", "argument"), arguments())
def test_a_stranger_is_refused_by_name_wherever_it_stands(name, argument):
    function = PUBLIC[name]
    needed = {
        parameter.name: Stranger()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
    }
    first, *others = needed or [argument]
    call = {key: needed[key] for key in others} | {argument: Stranger()}
    positional = () if first == argument else (needed[first],)
    if first == argument:
        positional = (call.pop(argument),)
    with pytest.raises(TypeError, match=r"^Expected .*; got a stranger") as caught:
        function(*positional, **call)
    deepest = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert "calls.py" in deepest.filename


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - OPEN))
def test_a_misspelt_option_is_told_the_known_ones(name):
    function = PUBLIC[name]
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        pytest.skip("it hands other options on")
    with pytest.raises(TypeError, match="Unknown option of .* 'optoin'; known: "):
        function(None, optoin=1)


def test_there_are_functions_to_hold_to_it():
    assert len(PUBLIC) > 90 and len(arguments()) > 250


@pytest.mark.parametrize("wrong", ["a path", 3, None, [3], ["a path"]])
def test_what_is_no_run_is_told_how_to_make_one(wrong):
    with pytest.raises(TypeError, match=r"evaluate\(runs=….*fit\(config\) trains one"):
        evaluate(wrong)


def test_objects_of_options_say_the_same():
    with pytest.raises(ValueError, match=r"Resampling\(confidence=…\) in .*got 95"):
        Resampling(confidence=95)
    with pytest.raises(TypeError, match=r"Scoring\(metric=…\) of type Sequence"):
        Scoring(metric=3)
    assert Scoring(sigma=np.int64(2)).sigma == 2.0
    assert isinstance(analysis.evaluate, Callable) and cl_flow.fit
    assert issubclass(list, Iterable)
