"""Continual training on disk."""

__all__ = [
    "Run",
    "RunConfig",
    "Snapshot",
    "describe_runs",
    "fit",
    "fit_all",
    "learn",
    "load_samples",
]

from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.continual import learn
from cl_flow.runs.fitting import fit, fit_all
from cl_flow.runs.library import describe_runs
from cl_flow.runs.run import Run
from cl_flow.runs.snapshot import Snapshot
