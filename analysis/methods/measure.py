"""Methods measured, seed by seed: detection, forgetting and costs."""

__all__ = ["compare_methods", "contrast_methods", "per_seed"]

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import conventions
from analysis.detection.conclude import r_matrix
from analysis.detection.measure import evaluate
from analysis.experiments import (
    of_any_model,
    of_any_stream,
    refuse_unlike_runs,
    several_runs,
)
from analysis.methods.conclude import COMPARED, against_reference, over_seeds
from analysis.methods.costs import kept_bytes, method_name, step_cost
from analysis.rows import of_tables
from analysis.scoring import Scoring
from cl_flow.calls import refuse_unknown
from cl_flow.runs.run import Run

Key = tuple[str, str, int]  # method, strategy, seed


@of_tables
def compare_methods(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    scoring: Scoring = Scoring(),
    time_steps: bool = True,
) -> pd.DataFrame:
    """Detection, forgetting and costs of every method, means over seeds.

    How to read it: `joint_gap` is what is left to gain, and needs the joint run of the
    same seed among the runs; `bwt` is negative for a loss, `forgetting` positive. A
    method whose interval overlaps fine-tuning's is not thereby equal to it:
    `contrast_methods` pairs the seeds.

    Args:
        runs: Of several strategies, options and seeds.
        baselines: A table of `analysis.methods.baselines`.
        part: Score part.
        given: `"category"` or None.
        scoring: Normalisation and size of the scores; its other fields are not used.
        time_steps: Whether to time a method's steps, on its first run.

    Raises:
        ValueError: Runs of several datasets, streams or setups.

    Returns:
        One row per `method strategy metric quantity` with `value low high seeds`,
        Student's interval over seeds; costs have an empty metric.

    Example:
        >>> compared = compare_methods(runs, time_steps=False)
        >>> sorted(set(compared["method"]))
        ['finetune', 'joint']
    """
    rows = per_seed(
        runs,
        baselines=baselines,
        part=part,
        given=given,
        scoring=scoring,
        time_steps=time_steps,
    )
    return over_seeds(rows)


@of_tables
def contrast_methods(
    runs: Iterable[Run],
    *,
    against: str = "finetune",
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """Distance of each method's last model from another's, seed by seed.

    How to read it: an interval that leaves out 0 is a difference beyond the seeds at
    hand. A single seed has none.

    Args:
        runs: Of several strategies, options and seeds.
        against: A method by its name.
        baselines: A table of `analysis.methods.baselines`.
        part: Score part.
        scoring: As `compare_methods` has it.

    Returns:
        One row per `method metric` with `value low high seeds`, of method minus
        reference.

    Example:
        >>> contrast_methods(runs)["method"].unique().tolist()
        ['joint']
    """
    runs = several_runs(contrast_methods, runs)
    others = [] if baselines is None else list(baselines["strategy"].unique())
    refuse_unknown("method", against, [*map(method_name, runs), *others])
    rows = per_seed(
        runs, baselines=baselines, part=part, scoring=scoring, time_steps=False
    )
    return against_reference(rows, against)


@of_tables
@of_any_model
@of_any_stream
def per_seed(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    scoring: Scoring = Scoring(),
    time_steps: bool = True,
) -> pd.DataFrame:
    """Rows behind `compare_methods`, before seeds are averaged.

    Returns:
        One row per `method strategy seed metric quantity`, with its `value`.

    Example:
        >>> per_seed(runs, time_steps=False)["seed"].unique().tolist()
        [0]
    """
    runs = several_runs(per_seed, runs)
    refuse_unlike_runs(runs, options=False)
    choice = {"metric": COMPARED, "part": part, "given": (given,)}
    scoring = dataclasses.replace(scoring, **choice)
    evaluated = evaluate(runs, scoring=scoring)
    joint = {run.seed: run.name for run in runs if run.strategy == "joint"}
    rows: list[tuple[Any, ...]] = []
    timed: set[str] = set()
    for run in runs:
        key = (method_name(run), run.strategy, run.seed)
        own = evaluated[evaluated["run"] == run.name]
        bound = evaluated[evaluated["run"] == joint.get(run.seed)]
        rows += _detection(key, own, bound, part, given)
        rows.append((*key, "", "kept_bytes", kept_bytes(run)))
        if time_steps and key[0] not in timed:
            timed.add(key[0])
            cost = step_cost(run).iloc[0]
            for name in ("step_ratio", "steps_ratio"):
                rows.append((*key, "", name, cost[name]))
    if baselines is not None:
        rows += _of_baselines(baselines, evaluated, joint, part)
    columns = ["method", "strategy", "seed", "metric", "quantity", "value"]
    return pd.DataFrame(rows, columns=columns).dropna()


def _detection(
    key: Key, rows: pd.DataFrame, bound: pd.DataFrame, part: str, given: str | None
) -> list[tuple[Any, ...]]:
    """Summaries of one run under each metric.

    Beside its joint bound if there is one.
    """
    out = []
    for metric in COMPARED:
        choice = {"metric": metric, "part": part, "given": str(given)}
        R = r_matrix(rows, **choice)
        best = None if bound.empty else r_matrix(bound, **choice)[-1]
        for name, value in _summaries(R, best).items():
            out.append((*key, metric, name, value))
    return out


def _summaries(R: np.ndarray, best: np.ndarray | None) -> dict[str, float]:
    """Joint runs have one row, single-task runs a diagonal only.

    Neither can forget.
    """
    last = R[-1]
    if len(R) > 1 and np.isnan(last).any():
        last = np.diagonal(R)
    values = {"final_mean": float(last.mean()), "joint_gap": np.nan}
    if best is not None:
        values["joint_gap"] = float((best - last).mean())
    if R.shape[0] == R.shape[1]:
        values["learning_score"] = conventions.learning_score(R)
        values["bwt"] = conventions.bwt(R)
        values["forgetting"] = conventions.forgetting(R)
    return values


def _of_baselines(
    baselines: pd.DataFrame,
    evaluated: pd.DataFrame,
    joint: Mapping[int, str],
    part: str,
) -> list[tuple[Any, ...]]:
    out = []
    groups = baselines.groupby(["strategy", "seed", "run"], sort=False)
    for (name, seed, _), rows in groups:
        key = (name, name, seed)
        bound = evaluated[evaluated["run"] == joint.get(seed)]
        out += _detection(key, rows, bound, part, "category")
        n_bytes = float(rows["kept_bytes"].iloc[0])
        out.append((*key, "", "kept_bytes", n_bytes))
    return out
