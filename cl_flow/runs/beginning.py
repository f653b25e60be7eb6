"""Beginning of a run: its features, and the facts of a run.json without tasks."""

__all__ = [
    "begin",
    "first_facts",
    "run_features",
    "whole_or_nothing",
    "write_json",
]

import dataclasses
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from cl_flow.data.extraction import load_features
from cl_flow.data.features import Features
from cl_flow.data.streams import task_order, windows
from cl_flow.paths import atomic
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.fingerprints import weights_fingerprint
from cl_flow.runs.library import find_run, free_place
from cl_flow.runs.schema import SCHEMA


def run_features(config: RunConfig) -> Features:
    """Features of a config's images, whitened where it says so."""
    samples = load_samples(config)
    features = load_features(samples, config.features)
    if config.whiten is None:
        return features
    whole = dataclasses.replace(config.stream, without=())
    first, *_ = task_order(samples["category"], whole)
    return features.whitened(config.whiten, fit_on=first)


def begin(config: RunConfig, runs: Path) -> Path:
    """Folder of a run that has learned nothing yet, or that another process began.

    Raises:
        ValueError: A stream that cannot be, before the folder is there.
    """
    windows(load_samples(config), config.stream)
    facts = first_facts(config)
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / ".lock"):
        known = find_run(config, runs)
        if known is not None:
            return known
        place = free_place(config, runs)
        write_json(place / "run.json", facts)
    return place


@contextmanager
def whole_or_nothing(place: Path) -> Iterator[None]:
    """Have nothing left of a run whose making fails; run.json is to be written last.

    What a killed making left before is no run, as it lacks that, and is thrown away.

    Args:
        place: Folder of the run.
    """
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def first_facts(config: RunConfig) -> dict[str, Any]:
    """Contents of run.json before anything is learned."""
    return {
        "schema": SCHEMA,
        "config": config.to_dict(),
        "options": config.all_options,
        "data": config.identity()["data"],
        "weights": weights_fingerprint(config.features),
        "tasks": task_order(load_samples(config)["category"], config.stream),
        **_provenance(),
        "steps": [],
    }


def _provenance() -> dict[str, Any]:
    names = ("torch", "timm", "FrEIA", "numpy")
    return {
        "commit": _commit(),
        "versions": {name: version(name) for name in names},
        "begun": time.strftime("%FT%T%z"),
    }


def _commit() -> str | None:
    """Commit of this checkout; none where git, or a checkout, is not there."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1))
