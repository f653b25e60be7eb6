"""Learning curves measured: what a detector reaches for the time it is given."""

__all__ = ["fit_budgets", "measure_learning_curve"]

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.detection.measure import evaluate
from analysis.experiments import of_any_model, of_any_stream, table
from analysis.methods.costs import method_name
from analysis.scoring import Scoring
from analysis.studies import Study
from cl_flow.calls import checked
from cl_flow.runs.config import RunConfig
from cl_flow.runs.fitting import fit
from cl_flow.runs.run import Run


@checked
def fit_budgets(
    plan: Study,
    strategies: Sequence[str],
    *,
    passes: Sequence[int] = (5, 10, 20, 40),
    **changes: Any,
) -> list[Run]:
    """Train each strategy once for every number of passes over its images.

    Each run is trained to the end of its own schedule: a model from the middle of a
    longer one stands at a rate that is still high, and shows less than its time allows.
    Runs are trained one after the other, so that their seconds are theirs alone.

    Args:
        plan: The study.
        strategies: Their names.
        passes: Over a task's images (`epochs` of a flow's training, or of another
            model's config).
        **changes: Of the config, as `Study.fit` takes them.

    Example:
        >>> short = fit_budgets(plan, ["joint"], passes=(1,))
        >>> [run.config.training.epochs for run in short]
        [1]
    """
    configs = [
        _of_length(plan.config(name, seed=seed, **changes), n)
        for name in strategies
        for n in passes
        for seed in plan.seeds
    ]
    return [fit(config) for config in configs]


def _of_length(config: RunConfig, passes: int) -> RunConfig:
    """Same config, with another number of passes."""
    field = "train" if config.is_flow else config.model
    training = dataclasses.replace(config.training, epochs=passes)
    return config.replace(**{field: training})


@table
@of_any_model
@of_any_stream
def measure_learning_curve(
    run: Run, *, scoring: Scoring = Scoring(metric="image_auroc", part="product")
) -> pd.DataFrame:
    """Measure the last model of a run beside what its training took.

    How to read it: ask `learning_curve`, of runs of several lengths (`fit_budgets`).

    Args:
        run: One run, or many.
        scoring: How to score and measure.

    Returns:
        One row per `method task category metric part given` with its `value`, and
        `passes` over each image, `images` seen and `seconds` of training, on the
        machine that trained, and the `parameters` of the last model.

    Example:
        >>> measured = measure_learning_curve(runs)
        >>> sorted(set(measured["method"]))
        ['finetune', 'joint']
    """
    rows = evaluate(run, scoring=scoring)
    last = rows[rows["step"] == len(run) - 1]
    columns = ["task", "category", "metric", "part", "given", "value"]
    steps = run.facts["steps"]
    passes = run.config.training.epochs
    return last[columns].assign(
        method=method_name(run),
        passes=passes,
        images=passes * sum(step["images"] for step in steps),
        seconds=sum(step["seconds"] for step in steps),
        parameters=sum(p.numel() for p in run[-1].model().parameters()),
    )
