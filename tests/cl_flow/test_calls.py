"""Whoever calls a public function wrongly is told what was expected, by us."""

import importlib
import inspect
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from analysis import Scoring, evaluate, r_matrix, study, summary, table
from analysis.intervals import Resampling
from analysis.rows import of_tables
from cl_flow import fit
from cl_flow.calls import (
    RANGES,
    checked,
    fitted,
    kinds_of,
    refuse_unknown,
    sentence_on,
)
from cl_flow.runs.fitting import fit_all

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


def takes_anything(hint: Any) -> bool:
    """Whether a type cannot be told: none, or an array or what becomes one."""
    return hint in (None, object, typing.Any) or hint == ArrayLike


def arguments() -> list[tuple[str, str]]:
    found = []
    for name, function in PUBLIC.items():
        if name in OPEN:
            continue
        hints = typing.get_type_hints(inspect.unwrap(function))
        for parameter in inspect.signature(function).parameters.values():
            is_open = takes_anything(hints.get(parameter.name))
            if parameter.kind is not parameter.VAR_KEYWORD and not is_open:
                found.append((name, parameter.name))
    return found


def dummy(hint: Any) -> Any:
    """Something of a declared type, for the arguments beside the wrong one."""
    plain = {str: "x", int: 1, float: 1.0, bool: True, np.ndarray: np.zeros((2, 2))}
    plain[pd.DataFrame] = pd.DataFrame()
    kind = kinds_of(hint)[0]
    origin = typing.get_origin(kind) or kind
    if kind in plain:
        return plain[kind]
    if origin in (Sequence, Iterable, tuple, list):
        inner = [one for one in typing.get_args(kind) if one is not Ellipsis]
        return tuple(map(dummy, inner)) or ("x",)
    if origin is Mapping:
        return {}
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return 1.0
    if origin is Callable:
        return len
    if issubclass(origin, Path):
        return Path("x")
    return object.__new__(origin)


@pytest.mark.parametrize(("name", "argument"), arguments())
def test_a_stranger_is_refused_by_name_wherever_it_stands(
    name, argument, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    function = PUBLIC[name]
    hints = typing.get_type_hints(inspect.unwrap(function))
    call = {
        parameter.name: dummy(hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
    }
    call[argument] = Stranger()
    expected = rf"^Expected \w+\({argument}=…\) of type .*; got a stranger"
    with pytest.raises(TypeError, match=expected) as caught:
        function(**call)
    deepest = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert "calls.py" in deepest.filename
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(TypeError, match=r"evaluate\(run=….*fit\(config\) trains one"):
        evaluate(wrong)


def test_objects_of_options_say_the_same():
    with pytest.raises(ValueError, match=r"Resampling\(confidence=…\) in .*got 95"):
        Resampling(confidence=95)
    with pytest.raises(TypeError, match=r"Scoring\(metric=…\) of type Sequence"):
        Scoring(metric=3)
    assert Scoring(sigma=np.int64(2)).sigma == 2.0


# ---- what callers of today and of before may write


def test_an_experiment_of_a_notebook_takes_its_options_in_any_form(tiny, tmp_path):
    @table
    def mine(run, n: int = 3, **more):
        return pd.DataFrame({"n": [n], "more": [str(more)]})

    run = fit(tiny, folder=tmp_path, progress=False)
    assert mine(run)["n"].tolist() == [3]
    assert mine(run, n=5)["n"].tolist() == [5]
    assert mine(run, n=0)["n"].tolist() == [0], "its n is not ours"
    assert mine(run, n=5, k=2)["more"].tolist() == ["{'k': 2}"]
    assert mine(run=run)["n"].tolist() == mine(runs=[run])["n"].tolist() == [3]


def test_an_experiment_with_a_type_that_is_not_there_is_not_checked(tiny, tmp_path):
    @table
    def mine(run: "Nowhere", n: "Nothing" = 3):  # noqa: F821
        return pd.DataFrame({"n": [n]})

    run = fit(tiny, folder=tmp_path, progress=False)
    assert mine(run, n=4)["n"].tolist() == [4]


@pytest.mark.parametrize(
    "seeds", [[np.int64(0)], list(np.arange(2)), np.arange(2), range(2), (0, 1), {0}]
)
def test_seeds_come_in_any_form(seeds):
    assert study("smoke", seeds=seeds).seeds == tuple(int(seed) for seed in seeds)


@pytest.mark.parametrize("size", [(8, 6), [8, 6], np.array([8, 6]), (np.int64(8), 6)])
def test_sizes_come_in_any_form(size):
    assert fitted("x", size, tuple[int, int]) == (8, 6)


@pytest.mark.parametrize(
    "names", [{"a"}, {"a": 1}.keys(), pd.Index(["a"]), pd.Series(["a"]), ["a"], "a"]
)
def test_names_come_in_any_form(names):
    assert list(fitted("x", names, Sequence[str])) == ["a"]


def test_none_to_fit_is_nothing():
    assert fit_all([]) == []


@pytest.mark.parametrize("wrong", [float("inf"), float("nan")])
def test_no_number_is_infinite(wrong):
    with pytest.raises(ValueError, match=r"Scoring\(sigma=…\)"):
        Scoring(sigma=wrong)


def test_a_real_function_tells_its_own_table():
    other = pd.DataFrame({"metric": ["image_auroc"], "value": [0.5]})
    expected = r"Expected r_matrix\(evaluated=…\) \(A table of `evaluate`.* 'part'"
    with pytest.raises(ValueError, match=expected):
        r_matrix(other)
    with pytest.raises(ValueError, match=r"summary\(evaluated=….* 'strategy'"):
        summary(pd.DataFrame({"a": [1]}))


def test_what_is_not_the_callers_fault_is_not_said_to_be():
    @of_tables
    def by_label(rows: pd.DataFrame) -> float:
        """Look up a row."""
        return rows.set_index("category").loc["bottle"]

    @of_tables
    def by_derived(rows: pd.DataFrame) -> float:
        """Look into a table of its own."""
        return pd.DataFrame({"x": [1]})["joint"]

    rows = pd.DataFrame({"category": ["cable"], "value": [1.0]})
    for function in (by_label, by_derived):
        with pytest.raises(KeyError):
            function(rows)


def test_a_call_by_place_is_told_by_name():
    with pytest.raises(TypeError, match=r"evaluate\(run, scoring\); .* scoring=…"):
        evaluate(None, Scoring())
