"""Library of runs: folders found by what was trained, not by how they are called."""

__all__ = [
    "describe_runs",
    "find_run",
    "free_place",
    "prunable",
    "prune",
    "run_folders",
    "run_sizes",
]

import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from cl_flow.identity import completed
from cl_flow.paths import DATA
from cl_flow.runs.config import RunConfig
from cl_flow.runs.fingerprints import changed_since, weights_fingerprint
from cl_flow.runs.schema import read_facts
from cl_flow.strategies import STRATEGIES

# What a list of runs tells of a config in columns of their own, or by their names.
TOLD = ["dataset", "root", "strategy", "seed_model", "seed_data"]


def run_folders(folder: Path) -> list[Path]:
    """Folders of all runs, by name."""
    return sorted(path.parent for path in folder.glob("*/run.json"))


def find_run(config: RunConfig, folder: Path) -> Path | None:
    """Folder of the run of a config, whatever its name; None where there is none.

    A run of before names were made as today is found by its contents; one whose
    training images have changed since is another run, and said to be.

    Args:
        config: Of the run.
        folder: Folder of all runs.
    """
    identity = config.identity()
    name = config.named(identity)
    data = identity["data"]
    wanted = _contents(config, config.all_options)
    weights = weights_fingerprint(config.features)
    changed = []
    for place in _candidates(folder, name, config.seed_model):
        stored, facts = _read(place, strict=place.name == name)
        if stored is None or _contents(stored, _options(stored, facts)) != wanted:
            continue
        same_place = (stored.dataset, stored.root) == (config.dataset, config.root)
        if facts["data"] != data and not same_place:
            continue
        if changed_since(facts, data, weights) is None:
            return place
        changed.append(place.name)
    if changed:
        warnings.warn(
            f"The training images in {config.folder}, or the weights of "
            f"{config.features.backbone}, have changed since {', '.join(changed)} "
            "learned them: what is asked for is another run. "
            "Run('path of the folder') still reads the old one.",
            stacklevel=4,
        )
    return None


def free_place(config: RunConfig, folder: Path) -> Path:
    """Folder for a new run: the config's name, numbered where another run has it."""
    name = config.name
    place = folder / name
    number = 2
    while (place / "run.json").is_file():
        place = folder / f"{name}-{number}"
        number += 1
    return place


def _candidates(folder: Path, name: str, seed: int) -> Iterator[Path]:
    """Runs of that name first, then all others of the seed."""
    if (folder / name / "run.json").is_file():
        yield folder / name
    for path in sorted(folder.glob(f"*-s{seed}-*/run.json")):
        if path.parent.name != name:
            yield path.parent


def _read(place: Path, *, strict: bool) -> tuple[RunConfig | None, dict[str, Any]]:
    """Config and facts of a run; none of one that is not read here, unless strict."""
    try:
        facts = read_facts(place)
        return RunConfig.from_dict(facts["config"]), facts
    except (KeyError, ValueError):
        if strict:
            raise
        return None, {}


def _contents(config: RunConfig, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides a run but its images."""
    values = config.to_dict()
    for name in config.elsewhere:
        values.pop(name)
    return {
        **values,
        "strategy": STRATEGIES.current(config.strategy),
        "options": options,
    }


def _options(config: RunConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """All options of a run on disk; as they are where the strategy is unknown."""
    strategy = STRATEGIES.current(config.strategy)
    kept = facts["options"]
    given = dict(config.options) if kept is None else kept
    try:
        return completed(STRATEGIES[strategy], given)
    except (KeyError, TypeError):
        return given


# ---- what lies on disk


def describe_runs(folder: Path | None = None) -> pd.DataFrame:
    """Runs on disk, one row each.

    Args:
        folder: Folder of all runs; the data folder's `runs` by default.

    Returns:
        `run dataset strategy seed tasks complete seconds megabytes days differs`: tasks
        are those learned, days those since the last one, and `differs` tells the
        settings in which the runs of a dataset are not all alike; runs that this
        version cannot read have no more than name, size and age.
    """
    rows = []
    settings = []
    for place in run_folders(folder or DATA / "runs"):
        told = {"run": place.name, **_on_disk(place)}
        try:
            facts = read_facts(place)
            config, steps = facts["config"], facts["steps"]
            told |= {
                "dataset": config["dataset"],
                "strategy": config["strategy"],
                "seed": config["seed_model"],
                "tasks": len(steps),
                "complete": (place / "complete").is_file(),
                "seconds": round(sum(step["seconds"] or 0.0 for step in steps), 1),
            }
        except (KeyError, ValueError):
            config = {}
        rows.append(told)
        settings.append(config)
    columns = ["run", "dataset", "strategy", "seed", "tasks", "complete", "seconds"]
    frame = pd.DataFrame(rows, columns=[*columns, "megabytes", "days"])
    return frame.assign(differs=_differences(settings))


def _on_disk(place: Path) -> dict[str, float]:
    """Size of a run, and its age."""
    seconds = time.time() - (place / "run.json").stat().st_mtime
    size = _bytes_of(place)
    return {"megabytes": round(size / 1e6, 2), "days": round(seconds / 86400, 1)}


def _differences(settings: Sequence[dict[str, Any]]) -> pd.Series:
    """In what each run differs from some other of its dataset, in words."""
    table = pd.json_normalize(list(settings)).map(repr)
    datasets = [config.get("dataset") for config in settings]
    out = pd.Series("", index=range(len(settings)))
    for _, group in table.drop(columns=TOLD, errors="ignore").groupby(datasets):
        names = [name for name in group if group[name].nunique() > 1]
        for i, values in group[names].iterrows():
            known = [f"{name}={value}" for name, value in values.items()]
            out[i] = ", ".join(one for one in known if not one.endswith("=nan"))
    return out


def run_sizes(folder: Path | None = None) -> pd.DataFrame:
    """Megabytes of each run on disk, largest first.

    Args:
        folder: Folder of all runs; the data folder's `runs` by default.

    Returns:
        `run snapshots tables other total` in MB.
    """
    rows = []
    for place in run_folders(folder or DATA / "runs"):
        snapshots = sum(path.stat().st_size for path in place.glob("*.safetensors"))
        tables = _bytes_of(place / "tables")
        total = _bytes_of(place)
        parts = (snapshots, tables, total - snapshots - tables, total)
        rows.append((place.name, *(round(size / 1e6, 2) for size in parts)))
    frame = pd.DataFrame(rows, columns=["run", "snapshots", "tables", "other", "total"])
    return frame.sort_values("total", ascending=False, ignore_index=True)


def prunable(
    *,
    tables: bool = False,
    unfinished: bool = False,
    names: Sequence[str] = (),
    folder: Path | None = None,
) -> list[tuple[Path, int]]:
    """Folders that may go, each with its bytes; nothing is deleted.

    A run that is being trained at the moment is not among them.

    Args:
        tables: Cached tables of all runs.
        unfinished: Runs that have not learned every task.
        names: Runs by their whole names.
        folder: Folder of all runs; the data folder's `runs` by default.

    Raises:
        ValueError: A name that no run has.
    """
    places = run_folders(folder or DATA / "runs")
    unknown = sorted(set(names) - {place.name for place in places})
    if unknown:
        raise ValueError(
            f"Expected names of runs; got {', '.join(unknown)}. "
            "`cl-flow runs list` shows all."
        )
    chosen = []
    for place in places:
        cut = unfinished and not (place / "complete").is_file()
        if (cut or place.name in names) and not _is_held(place):
            chosen.append(place)
        elif tables and (place / "tables").is_dir():
            chosen.append(place / "tables")
    return [(path, _bytes_of(path)) for path in chosen]


def prune(paths: Iterable[Path]) -> None:
    """Delete folders, run.json first: what is interrupted leaves no half run behind."""
    for path in paths:
        (path / "run.json").unlink(missing_ok=True)
        shutil.rmtree(path)


def _is_held(place: Path) -> bool:
    """Whether a process trains the run now."""
    lock = FileLock(place / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
