"""Names of before the rooms: importable for one release, each with a warning."""

import importlib
import inspect
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import analysis
from cl_flow.moved import MODULES

NAMES = json.loads(
    (Path(__file__).parent / "data" / "names-0.1.json").read_text(encoding="utf-8")
)
OLD = [(module, name) for module in NAMES for name in NAMES[module]]


def imported(module: str, name: str):
    """What `from module import name` gives, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = getattr(importlib.import_module(module), name)
    return value, [str(w.message) for w in caught if "next release" in str(w.message)]


@pytest.mark.parametrize(("module", "name"), OLD)
def test_every_public_name_of_before_is_still_found(module, name):
    value, _ = imported(module, name)
    assert value is not None
    if callable(value) and hasattr(value, "__name__"):
        home = inspect.getmodule(value)
        assert home is None or home.__name__ not in MODULES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_an_old_module_says_where_its_names_have_gone(module, monkeypatch):
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    with pytest.warns(DeprecationWarning, match=f"{module} has moved to"):
        importlib.import_module(module)


def test_an_old_function_of_the_face_leads_to_its_room():
    value, messages = imported("analysis", "plot_waterfall")
    assert value is analysis.ledger.plot_waterfall
    assert "analysis.ledger.plot_waterfall now" in messages[0]


def test_a_room_answers_as_the_function_of_its_name():
    with pytest.warns(DeprecationWarning, match=r"expansion\.measure_expansion"):
        with pytest.raises(ValueError, match="at least one run"):
            analysis.expansion([])


def test_a_module_that_a_function_hid_answers_as_that_function():
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import cl_flow.fit\n"
        "from cl_flow.fit import fit_all\n"
        "from cl_flow import fit\n"
        "try: cl_flow.fit(None)\n"
        "except TypeError: pass\n"
        "import cl_flow.runs.fitting as home; assert fit_all is home.fit_all\n"
        "from inspect import signature\n"
        "assert signature(cl_flow.fit) == signature(home.fit)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["plot_nothing", "_private", "__wrapped__"])
def test_what_never_was_is_no_name(name):
    with pytest.raises(AttributeError):
        getattr(analysis, name)
    with pytest.raises(AttributeError):
        getattr(importlib.import_module("cl_flow.run"), name)
