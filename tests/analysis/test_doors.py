"""A wrong option is refused before anything is measured or trained."""

import importlib
import inspect
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from analysis import diagnose
from analysis.recovery import measure_recovery
from cl_flow import Run
from cl_flow.calls import kinds_of
from cl_flow.runs.snapshot import Snapshot

ROOMS = Path(__file__).resolve().parents[2] / "analysis"


def names_a_choice(hint: object) -> bool:
    """Whether a text, or several, are declared."""
    for kind in kinds_of(hint):
        inner = typing.get_args(kind)
        if kind is str or (
            typing.get_origin(kind) is Sequence and str in kinds_of(inner[0])
        ):
            return True
    return False


def choices() -> list[tuple]:
    """Every option that is a name, of every function that measures runs."""
    found = {}
    for path in sorted(ROOMS.glob("*/__init__.pyi")):
        room = importlib.import_module(f"analysis.{path.parent.name}")
        for name in room.__all__:
            function = getattr(room, name)
            if not inspect.isfunction(function):
                continue
            hints = typing.get_type_hints(inspect.unwrap(function))
            first, *options = inspect.signature(function).parameters
            if {Run, Iterable[Run]} & set(kinds_of(hints.get(first))):
                named = [one for one in options if names_a_choice(hints[one])]
                found |= {(name, one): (function, one) for one in named}
    options = [(diagnose, name) for name in ("part", "given", "family")]
    return [*found.values(), *options]


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def loaded(self, *args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Snapshot, "model", loaded)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(("function", "option"), choices())
def test_an_unknown_name_is_refused_at_the_door(run, function, option):
    needed = {"image": ("ant",)} if function.__name__ == "measure_maps" else {}
    first = next(iter(inspect.signature(function).parameters))
    hint = typing.get_type_hints(inspect.unwrap(function))[first]
    runs = [run] if hint == Iterable[Run] else run
    with pytest.raises((KeyError, ValueError), match="Unknown .*'nonsense'; known: "):
        function(runs, **{**needed, option: "nonsense"})


def test_there_are_choices_to_hold_to_it():
    assert len(choices()) > 20
    assert (measure_recovery, "probe") in choices()


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": (7,)}, "1 to 6 shots of ant"),
        ({"steps": (-1, 3)}, "optimizer steps of 0 or more; got -1"),
        ({"after": (0,)}, "steps after the first"),
        ({"lr": ("peak", -1.0)}, "0 or more"),
    ],
)
def test_so_is_a_recovery_that_cannot_be(run, options, message):
    with pytest.raises(ValueError, match=message):
        measure_recovery(run, **options)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("options", [{"after": 9}, {"tasks": (9,)}, {"after": 0}])
def test_so_is_a_diagnosis_of_what_no_run_learned(run, options, several):
    with pytest.raises((IndexError, ValueError), match="Expected .*; got"):
        diagnose([run, run] if several else run, **options)
