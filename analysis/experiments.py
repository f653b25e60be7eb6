"""Experiments lifted to many runs, their tables cached beside each run."""

__all__ = [
    "expect_suited",
    "key_columns",
    "of_any_model",
    "of_any_stream",
    "refuse_unlike_runs",
    "several_runs",
    "table",
]

import dataclasses
import functools
import inspect
import logging
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from analysis.rows import noting_sources, refuse_unlike
from analysis.scoring import METRICS, Scoring
from analysis.source import code_digest, source_digest
from cl_flow.calls import RANGES, bind, fit_arguments, fitted, refuse_none
from cl_flow.identity import differing, digest_of
from cl_flow.paths import atomic, sweep
from cl_flow.runs.run import Run

log = logging.getLogger(__name__)

Experiment = Callable[..., pd.DataFrame]
F = TypeVar("F", bound=Callable)


def table(function: Experiment) -> Experiment:
    """Lift `Run -> DataFrame` to many runs, and cache its tables.

    It refuses runs of other models than a flow, unless it is `of_any_model`, and those
    of a stream without boundaries, unless it is `of_any_stream`.

    The key columns `run strategy seed dataset stream options setup` are added in front.
    The cache (Parquet, in the run's `tables/`) is keyed by the options that differ from
    their defaults, by the training itself, and by a digest of the code that the
    function depends on: what is stale is computed anew, what is not costs milliseconds.

    Example:
        >>> @table
        ... def count_centers(run):
        ...     rows = [(one.step, len(one.categories)) for one in run]
        ...     return pd.DataFrame(rows, columns=["step", "centers"])
        >>> count_centers(runs)[["strategy", "step", "centers"]].to_numpy().tolist()
        [['finetune', 0, 3], ['finetune', 1, 6], ['joint', 0, 6]]
    """
    signature = inspect.signature(function)
    first = next(iter(signature.parameters))

    @functools.wraps(function)
    def lifted(*args: Any, **options: Any) -> pd.DataFrame:
        if "runs" in options:
            options[first] = options.pop("runs")
        options = _gathered(signature, options)
        bound = bind(function, signature, args, options)
        runs = several_runs(function, bound.arguments[first])
        bound.arguments[first] = runs[0]
        # A function of the user's own may mean something else by a name.
        is_ours = function.__module__.startswith("analysis.")
        fit_arguments(function, bound, RANGES if is_ours else {})
        refuse_none(function, bound)
        expect_suited(function, *runs)
        options = _named(signature, bound)
        frames = [key_columns(_cached(function, run, options), run) for run in runs]
        return noting_sources(pd.concat(frames, ignore_index=True), *frames)

    return lifted


def of_any_model(function: F) -> F:
    """Say of a function of runs that it asks nothing of them that only a flow has."""
    function.__dict__["of_any_model"] = True
    return function


def of_any_stream(function: F) -> F:
    """Say of a function of runs that it asks for no task that was learned and left."""
    function.__dict__["of_any_stream"] = True
    return function


def expect_suited(function: Callable, *runs: Run) -> None:
    """Refuse runs of models, or of streams, that a function says nothing of.

    Args:
        function: Who is asked; nothing is refused for one that is `of_any_model` and
            `of_any_stream`.
        runs: What it is asked about.

    Raises:
        ValueError: One trains another model than a flow, which has no latents and no
            centers; or its stream has no boundaries (`StreamConfig.blur`).
    """
    for run in runs:
        config = run.config
        if not (config.is_flow or getattr(function, "of_any_model", False)):
            raise ValueError(
                f"Expected a run of a flow for {function.__name__}, which asks for "
                f"latents and centers; got {config.model} of {run.name}, which has "
                "none. evaluate, forgetting_table and measure_maps take any model."
            )
        if config.stream.blur and not getattr(function, "of_any_stream", False):
            raise ValueError(
                f"Expected a run of tasks with boundaries for {function.__name__}, "
                "which asks for tasks that were learned and left; got "
                f"blur={config.stream.blur:g} of {run.name}, which has none. evaluate, "
                "forgetting_table and measure_maps take any stream."
            )


def _named(
    signature: inspect.Signature, bound: inspect.BoundArguments
) -> dict[str, Any]:
    """Every argument but the runs by its name."""
    _, *others = bound.arguments
    options = {}
    for name in others:
        value = bound.arguments[name]
        is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        options.update(value if is_rest else {name: value})
    return options


def several_runs(function: Callable, runs: Any) -> list[Run]:
    """The runs that a function is given, one or several.

    Raises:
        TypeError: Something else is among them.
        ValueError: There is none.
    """
    if isinstance(runs, Run):
        return [runs]
    what = f"{function.__name__}(run=…)"
    given = list(fitted(what, runs, Run | Iterable[Run]))
    for run in given:
        fitted(what, run, Run)
    if not given:
        raise ValueError(f"Expected {what} with at least one run; got none.")
    return given


def key_columns(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Frame with the columns `run strategy seed dataset stream options setup` in front.

    The last four are texts: in what runs differ beside strategy and seed. Where the run
    was imported, the table says so in its attribute `analysis.words.SOURCES`.
    """
    values = {"run": run.name, "strategy": run.strategy, "seed": run.seed, **run.kind}
    keys = pd.DataFrame(values, index=frame.index)
    return noting_sources(pd.concat([keys, frame], axis=1), run)


def refuse_unlike_runs(runs: Iterable[Run], *, options: bool = True) -> None:
    """Refuse runs that differ in more than strategy and seed.

    Args:
        runs: To be averaged, or set beside each other.
        options: Whether a strategy may not stand there with several options either.

    Raises:
        ValueError: As `analysis.rows.refuse_unlike`.
    """
    kinds = pd.DataFrame([{"strategy": run.strategy, **run.kind} for run in runs])
    refuse_unlike(kinds if options else kinds.drop(columns="options"))


def _gathered(signature: inspect.Signature, options: dict[str, Any]) -> dict[str, Any]:
    """Options with former keywords put into today's object."""
    options = dict(options)
    for name, parameter in signature.parameters.items():
        if not dataclasses.is_dataclass(parameter.default):
            continue
        fields = {field.name for field in dataclasses.fields(parameter.default)}
        former = (fields & set(options)) - set(signature.parameters)
        if former:
            kind = type(parameter.default).__name__
            warnings.warn(
                f"{', '.join(sorted(former))}: pass {name}={kind}(...) instead; "
                "the next release takes nothing else.",
                DeprecationWarning,
                stacklevel=3,
            )
            values = {key: options.pop(key) for key in former}
            given = options.get(name, parameter.default)
            options[name] = dataclasses.replace(given, **values)
    return options


def _cached(function: Experiment, run: Run, options: dict[str, Any]) -> pd.DataFrame:
    if not len(run):
        raise ValueError(
            f"Expected a run with at least one task learned; got {run!r}. "
            "Call fit(run.config) first."
        )
    facts = run.facts
    identity = [
        _telling(function, options),
        facts["begun"],
        facts["steps"],
        code_digest(function.__module__),
        *_own_code(function, options),
    ]
    name = f"{function.__name__}-{digest_of(identity, 12)}"
    path = _place(run, name)
    known = _read(path)
    if known is not None:
        return known
    return _kept(function(run, **options), path)


def _kept(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A table as it is read again; where the disk takes it, it is kept there."""
    stored = BytesIO()
    frame.to_parquet(stored)
    sweep(path.parent, seconds=3600)
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(stored.getvalue())
    except OSError as error:
        log.warning("%s is measured but not kept: %s", path.name, error)
    return pd.read_parquet(stored)


def _read(path: Path) -> pd.DataFrame | None:
    """A table from disk; none where it is not there, or not whole."""
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        log.warning("measured anew: %s cannot be read (%s)", path, error)
        return None


def _place(run: Run, name: str) -> Path:
    """File of a table, by what it is measured on.

    Where the images are not on this machine, any table that was carried along serves.
    """
    tables = run.folder / "tables"
    evidence = run.evidence
    if not evidence:
        carried = sorted(tables.glob(f"{name}-*.parquet"))
        if carried:
            log.info("%s: its images are not here; read %s", run.name, carried[-1].name)
            return carried[-1]
    return tables / f"{name}-{evidence or 'alone'}.parquet"


def _own_code(function: Experiment, options: dict[str, Any]) -> list[str]:
    """Code of an experiment and of metrics that no module of ours defines."""
    used = [function]
    for value in options.values():
        if isinstance(value, Scoring):
            used += [METRICS[name] for name in value.metric]
    return [
        source_digest(one)
        for one in used
        if not one.__module__.startswith(("analysis.", "cl_flow."))
    ]


def _telling(function: Experiment, options: dict[str, Any]) -> dict[str, Any]:
    """Options that differ from the function's defaults."""
    parameters = inspect.signature(function).parameters
    out = {}
    for name, value in options.items():
        if name in parameters and value == parameters[name].default:
            continue
        out[name] = differing(value) if dataclasses.is_dataclass(value) else value
    return out
