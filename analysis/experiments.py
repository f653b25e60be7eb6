"""Experiments lifted to many runs, their tables cached beside each run."""

__all__ = ["key_columns", "table"]

import ast
import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from cl_flow.paths import atomic
from cl_flow.runs.run import Run


def table(function: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Lift `Run -> DataFrame` to one run or many, add the key columns `run strategy
    seed`, and cache beside each run.

    The cache (Parquet, in the run's `tables/`) is keyed by the options, by the training
    itself, and by a hash of the source that the function depends on: what is stale is
    computed anew, what is not costs milliseconds.
    """

    @functools.wraps(function)
    def lifted(runs: Run | Iterable[Run], **options: Any) -> pd.DataFrame:
        runs = [runs] if isinstance(runs, Run) else list(runs)
        if not runs:
            raise ValueError("Expected at least one run; got none.")
        bound = inspect.signature(function).bind(None, **options)
        bound.apply_defaults()
        options = {
            name: value
            for name, value in bound.arguments.items()
            if name != next(iter(bound.arguments))
        }
        frames = [key_columns(_cached(function, run, options), run) for run in runs]
        return pd.concat(frames, ignore_index=True)

    return lifted


def key_columns(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The frame with the columns `run strategy seed` in front."""
    keys = pd.DataFrame(
        {"run": run.name, "strategy": run.strategy, "seed": run.seed}, index=frame.index
    )
    return pd.concat([keys, frame], axis=1)


def _cached(
    function: Callable[..., pd.DataFrame], run: Run, options: dict[str, Any]
) -> pd.DataFrame:
    if not len(run):
        raise ValueError(
            f"Expected a run with at least one task learnt; got {run!r}. Call fit(run.config) first."
        )
    facts = run.facts
    identity = [
        options,
        facts["begun"],
        facts["steps"],
        _source_digest(function.__module__),
    ]
    key = blake2b(
        json.dumps(identity, sort_keys=True, default=repr).encode()
    ).hexdigest()[:12]
    path = run.folder / "tables" / f"{function.__name__}-{key}.parquet"
    if not path.is_file():
        frame = function(run, **options)
        with atomic(path) as temporary:
            frame.to_parquet(temporary)
    return pd.read_parquet(path)


@functools.cache
def _source_digest(module: str) -> str:
    """Digest of a module's code and, transitively, of the modules of these packages
    that it imports.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in sys.modules:
            continue
        tree = ast.parse(
            Path(inspect.getfile(sys.modules[name])).read_text(encoding="utf-8")
        )
        seen[name] = blake2b(ast.dump(tree).encode()).hexdigest()
        waiting += [
            found
            for found in _imports(tree)
            if found.split(".")[0] in ("analysis", "cl_flow")
        ]
    return blake2b(json.dumps(sorted(seen.items())).encode()).hexdigest()


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
