"""Library of runs: folders found by what was trained, not by how they are called."""

__all__ = ["find_run", "free_place", "run_folders"]

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_flow.identity import completed
from cl_flow.runs.config import ELSEWHERE, RunConfig
from cl_flow.runs.schema import read_facts
from cl_flow.strategies import STRATEGIES


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
    name = config.name
    wanted = _contents(config, config.all_options)
    data = config.identity()["data"]
    changed = []
    for place in _candidates(folder, name, config.seed_model):
        stored, facts = _read(place, strict=place.name == name)
        if stored is None or _contents(stored, _options(stored, facts)) != wanted:
            continue
        if facts["data"] == data:
            return place
        same_place = (stored.dataset, stored.root) == (config.dataset, config.root)
        if facts["data"] is None and same_place:
            return place
        if same_place:
            changed.append(place.name)
    if changed:
        warnings.warn(
            f"The training images in {config.folder} have changed since "
            f"{', '.join(changed)} learnt them: what is asked for is another run. "
            "Run('path of the folder') still reads the old one.",
            stacklevel=4,
        )
    return None


def free_place(config: RunConfig, folder: Path) -> Path:
    """Folder for a new run: the config's name, numbered where another run has it."""
    place = folder / config.name
    number = 2
    while (place / "run.json").is_file():
        place = folder / f"{config.name}-{number}"
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
    for name in ELSEWHERE:
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
