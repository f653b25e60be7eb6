"""No mean is taken over runs that differ in more than their seed."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pandas as pd
import pytest

import analysis
from analysis import evaluate, forgetting_table, r_matrix, summary
from analysis.detection.conclude import task_table
from analysis.intervals import Resampling
from analysis.methods import compare_methods
from analysis.rows import ALIKE, refuse_unlike
from cl_flow import StreamConfig, fit

KEYS = {"run": "r", "strategy": "finetune", "seed": 0}


def takers() -> dict[str, Callable]:
    """Functions of every room that conclude from, tell or draw tables of runs."""
    found = {}
    for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
        room, _, name = module.name.rpartition(".")
        if not name.startswith(("conclude", "say", "plot")) or room.count(".") != 1:
            continue
        loaded = importlib.import_module(module.name)
        for key, value in vars(loaded).items():
            if inspect.isfunction(value) and value.__module__ == module.name:
                if not key.startswith("_") and _takes_a_table(value):
                    found[f"{room}.{key}"] = value
    return found


def _takes_a_table(function: Callable) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.annotation is pd.DataFrame


# They set runs of several strengths beside each other: that is what they are for.
SEVERAL = {name for name in takers() if name.startswith("analysis.methods.")}


def mixed(column: str) -> pd.DataFrame:
    kind = dict.fromkeys((*ALIKE, "options"), "same")
    rows = [{**KEYS, **kind}, {**KEYS, **kind, column: "other"}]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("column", [*ALIKE, "options"])
@pytest.mark.parametrize("name", sorted(set(takers()) - SEVERAL))
def test_runs_that_are_not_alike_are_refused(name, column):
    function = takers()[name]
    others = {
        "points": [0.0],
        "order": "shuffled",
        "policy": "figmn",
        "category": "bottle",
        "level": "mean",
        "family": "full",
        "by": "task",
        "joint": 0.9,
        "part": "product",
        "per_category": 4,
        "where": {},
        "runs": set(),
        "resampling": Resampling(),
    }
    needed = {
        parameter.name: mixed(column)
        if parameter.annotation is pd.DataFrame
        else others[parameter.name]
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
    }
    with pytest.raises(ValueError, match=f"got {column}.* 'same', 'other'. Choose one"):
        function(**needed)


def test_there_are_functions_to_hold_to_it():
    assert len(takers()) > 40 and len(SEVERAL) < 15


@pytest.mark.parametrize("what", ["stream", "options", "setup"])
def test_tables_tell_apart_what_was_trained_otherwise(tiny, tmp_path, what):
    other = {
        "stream": tiny.replace(stream=StreamConfig(split=3, order="random", seed=1)),
        "options": tiny.replace(strategy="ewc", options={"strength": 2.0}),
        "setup": tiny.replace(whiten=6),
    }[what]
    first = tiny.replace(strategy=other.strategy)
    runs = [
        fit(config, folder=tmp_path, progress=False)
        for config in (first, first.replace(seed=3), other)
    ]
    alone = evaluate(runs[:2])
    assert len(summary(alone)) == 2 and r_matrix(alone).shape == (2, 2)
    together = evaluate(runs)
    assert together[what].nunique() == 2
    for function in (summary, r_matrix, task_table):
        with pytest.raises(ValueError, match=f"got {what}"):
            function(together)
    with pytest.raises(ValueError, match=f"got {what}"):
        forgetting_table(runs)
    with pytest.raises(ValueError, match=f"got {what}"):
        refuse_unlike(together)
    if what == "options":  # strengths of a method are what it compares
        assert compare_methods(runs, time_steps=False)["method"].nunique() == 2
    else:
        with pytest.raises(ValueError, match=f"got {what}"):
            compare_methods(runs, time_steps=False)
