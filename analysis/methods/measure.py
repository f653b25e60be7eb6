"""Methods measured, seed by seed: detection, forgetting and costs."""

__all__ = ["compare_methods", "contrast_methods", "per_seed"]

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import conventions
from analysis.detection.conclude import r_matrix
from analysis.detection.measure import evaluate
from analysis.methods.conclude import COMPARED, against_reference, over_seeds
from analysis.methods.costs import kept_bytes, method_name, step_cost
from cl_flow.runs.run import Run


def compare_methods(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    time_steps: bool = True,
) -> pd.DataFrame:
    """Every method's detection, forgetting and costs; means over seeds with their
    Student interval.

    How to read it: `joint_gap` is what is left to gain, and needs the joint run of the
    same seed among the runs; `bwt` is negative for a loss, `forgetting` positive. A
    method whose interval overlaps fine-tuning's is not thereby equal to it:
    `contrast_methods` pairs the seeds.

    Args:
        runs: Of several strategies, options and seeds.
        baselines: A table of `analysis.methods.detectors`.
        part: Score part.
        given: `"category"` or None.
        time_steps: Whether to time a method's steps, on its first run.

    Returns:
        One row per `method strategy metric quantity` with `value low high seeds`; costs
        have an empty metric.
    """
    return over_seeds(
        per_seed(
            runs, baselines=baselines, part=part, given=given, time_steps=time_steps
        )
    )


def per_seed(
    runs: Iterable[Run],
    *,
    baselines: pd.DataFrame | None = None,
    part: str = "product",
    given: str | None = "category",
    time_steps: bool = True,
) -> pd.DataFrame:
    """The rows behind `methods`, one per `method strategy seed metric quantity`, with
    its `value`.
    """
    runs, rows, timed = list(runs), [], set()
    evaluated = evaluate(runs, metric=COMPARED, part=(part,), given=(given,))
    joint = {run.seed: run.name for run in runs if run.strategy == "joint"}
    for run in runs:
        key = (method_name(run), run.strategy, run.seed)
        bound = evaluated[evaluated["run"] == joint.get(run.seed)]
        rows += _detection(
            key, evaluated[evaluated["run"] == run.name], bound, part, given
        )
        rows.append((*key, "", "kept_bytes", kept_bytes(run)))
        if time_steps and key[0] not in timed:
            cost = step_cost(run).iloc[0]
            rows += [
                (*key, "", name, cost[name]) for name in ("step_ratio", "steps_ratio")
            ]
            timed.add(key[0])
    if baselines is not None:
        rows += _of_baselines(baselines, evaluated, joint, part)
    return pd.DataFrame(
        rows, columns=["method", "strategy", "seed", "metric", "quantity", "value"]
    ).dropna()


Key = tuple[str, str, int]


def _detection(
    key: Key, rows: pd.DataFrame, bound: pd.DataFrame, part: str, given: str | None
) -> list[tuple[Any, ...]]:
    out = []
    for metric in COMPARED:
        R = r_matrix(rows, metric=metric, part=part, given=str(given))
        best = (
            None
            if bound.empty
            else r_matrix(bound, metric=metric, part=part, given=str(given))[-1]
        )
        out += [
            (*key, metric, name, value) for name, value in _summaries(R, best).items()
        ]
    return out


def _summaries(R: np.ndarray, best: np.ndarray | None) -> dict[str, float]:
    """Joint runs have one row, single-task runs a diagonal only: neither can forget."""
    last = R[-1] if len(R) == 1 or not np.isnan(R[-1]).any() else np.diagonal(R)
    values = {
        "final_mean": float(last.mean()),
        "joint_gap": np.nan if best is None else float((best - last).mean()),
    }
    if R.shape[0] == R.shape[1]:
        values["learning_score"] = conventions.learning_score(R)
        values |= {"bwt": conventions.bwt(R), "forgetting": conventions.forgetting(R)}
    return values


def _of_baselines(
    baselines: pd.DataFrame,
    evaluated: pd.DataFrame,
    joint: Mapping[int, str],
    part: str,
) -> list[tuple[Any, ...]]:
    out = []
    for (name, seed, _), rows in baselines.groupby(
        ["strategy", "seed", "run"], sort=False
    ):
        bound = evaluated[evaluated["run"] == joint.get(seed)]
        out += _detection((name, name, seed), rows, bound, part, "category")
        out.append(
            (name, name, seed, "", "kept_bytes", float(rows["kept_bytes"].iloc[0]))
        )
    return out


def contrast_methods(
    runs: Iterable[Run],
    *,
    against: str = "finetune",
    baselines: pd.DataFrame | None = None,
    part: str = "product",
) -> pd.DataFrame:
    """How far each method's last model is from another's, seed by seed.

    How to read it: an interval that leaves out 0 is a difference beyond the seeds at
    hand. A single seed has none.

    Args:
        runs: Of several strategies, options and seeds.
        against: A method by its name.
        baselines: A table of `analysis.methods.detectors`.
        part: Score part.

    Returns:
        One row per `method metric` with `value low high seeds`, of method minus
        reference.
    """
    rows = per_seed(runs, baselines=baselines, part=part, time_steps=False)
    return against_reference(rows, against)
