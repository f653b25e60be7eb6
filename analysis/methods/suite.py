"""Every method at every strength, measured once and kept.

What `make methods` makes, and notebook 06 shows.
"""

__all__ = [
    "PEERS",
    "Suite",
    "fit_few_methods",
    "fit_methods",
    "load_methods",
    "measure_methods",
    "suite_hours",
]

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.methods.conclude import methods_table
from analysis.methods.costs import kept_bytes
from analysis.methods.detectors import baselines
from analysis.methods.measure import compare_methods, contrast_methods
from analysis.pages import styled
from analysis.source import code_digest
from analysis.studies import Study
from cl_flow.calls import checked
from cl_flow.identity import differing, digest_of
from cl_flow.paths import DATA, atomic
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES

BOUNDS = ("finetune", "joint", "cumulative")
PEERS = tuple(name for name in STRATEGIES if name not in (*BOUNDS, "single"))
REHEARSING = (
    "adagauss",
    "efc",
    "feature_gaussian",
    "functional",
    "gauge_free",
    "generative_replay",
    "gradient_mixture",
    "replay",
)
FEW = (("replay", {"budget_bytes": 1_000_000}), ("ewc", {"strength": 1e6}))


class Suite(NamedTuple):
    """Tables of `methods` and of `contrast_methods` against fine-tuning."""

    compared: pd.DataFrame
    contrasts: pd.DataFrame


@checked
def fit_methods(plan: Study) -> list[Run]:
    """Train the bounds and every method at every strength, every seed.

    Replay of everything and at equal bytes too.

    Raises:
        ValueError: The study's stream has no boundaries.

    Example:
        >>> runs = fit_methods(plan)  # doctest: +SKIP
    """
    plan.expect_boundaries(fit_methods)
    everything = plan.fit("replay", options={"budget_bytes": None, "ratio": None})
    return [
        *plan.fit(*BOUNDS),
        *plan.fit_grid(*PEERS),
        *everything,
        *_fit_at_equal_bytes(plan),
    ]


def _fit_at_equal_bytes(plan: Study) -> list[Run]:
    """Replay of as many bytes, and as often, as each `feature_gaussian`."""
    runs = []
    for options in STRATEGIES["feature_gaussian"].GRID:
        budget = kept_bytes(plan.fit("feature_gaussian", options=options)[0])
        same = {"budget_bytes": int(budget), "ratio": options.get("ratio", 1.0)}
        runs += plan.fit("replay", options=same)
    return runs


@checked
def fit_few_methods(plan: Study) -> list[Run]:
    """Fine-tuning, joint training, and a method of each kind at one strength.

    A minute or two.

    Raises:
        ValueError: The study's stream has no boundaries.

    Example:
        >>> runs = fit_few_methods(plan)  # doctest: +SKIP
    """
    plan.expect_boundaries(fit_few_methods)
    few = [
        plan.config(name, seed=seed, options=options)
        for name, options in FEW
        for seed in plan.seeds
    ]
    return [*plan.fit("finetune", "joint"), *fit_all(few)]


@checked
def suite_hours(plan: Study) -> float:
    """Estimate the hours that `fit_methods` takes here.

    When nothing of it is there, from the seconds of one fine-tuning run.

    A method that rehearses takes twice the steps of every task but the first; with all
    classes alike in a batch, task t takes t times the steps.

    Example:
        >>> suite_hours(plan) < 1
        True
    """
    finetune = plan.fit("finetune")[0]
    seconds = sum(step["seconds"] for step in finetune.facts["steps"])
    n_tasks = len(plan.tasks)
    growing = (n_tasks + 1) / 2
    double = 2 - 1 / n_tasks
    runs = sum(
        _weight(name, options, double, growing)
        for name in PEERS
        for options in STRATEGIES[name].GRID
    )
    # Cumulative, replay of everything and at the bytes of balanced laws; replay at the
    # bytes of the other laws; the bounds.
    runs += 3 * growing + 2 * double + 2
    return seconds * len(plan.seeds) * runs / 3600 / (os.cpu_count() or 1)


def _weight(
    name: str, options: Mapping[str, Any], double: float, growing: float
) -> float:
    """Steps of a method in those of fine-tuning."""
    if name not in REHEARSING:
        return 1.2
    return growing if options.get("ratio", 1.0) is None else double


@checked
def measure_methods(plan: Study) -> Suite:
    """Train and measure everything, and keep it.

    Below the data folder, as Parquet, CSV and LaTeX.

    Example:
        >>> suite = measure_methods(plan)  # doctest: +SKIP
    """
    runs = fit_methods(plan)
    others = baselines([run for run in runs if run.strategy == "finetune"])
    suite = Suite(
        compare_methods(runs, baselines=others, scoring=plan.scoring()),
        contrast_methods(runs, baselines=others, scoring=plan.scoring()),
    )
    for name, frame in suite._asdict().items():
        with atomic(_folder(plan) / f"methods-{name}.parquet") as path:
            frame.to_parquet(path)
    page = methods_table(suite.compared)
    with atomic(_folder(plan) / "methods.csv") as path:
        page.to_csv(path)
    with atomic(_folder(plan) / "methods.tex") as path:
        path.write_text(styled(page).to_latex(), encoding="utf-8")
    return suite


@checked
def load_methods(plan: Study) -> Suite | None:
    """Load what `measure_methods` kept of this study, or None.

    Example:
        >>> load_methods(plan) is None
        True
    """
    paths = [_folder(plan) / f"methods-{name}.parquet" for name in Suite._fields]
    return (
        Suite(*map(pd.read_parquet, paths))
        if all(path.is_file() for path in paths)
        else None
    )


def _folder(plan: Study) -> Path:
    """Folder of a study's tables, by all that decides them but the seeds."""
    decisive = [
        plan.base.identity(),
        plan.base.dataset,
        differing(plan.scored),
        code_digest(compare_methods.__module__),
    ]
    return DATA / "tables" / f"{plan.name}-{digest_of(decisive, 6)}"
