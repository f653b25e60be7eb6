"""Extending: a longer stream, begun with what a complete run has learned."""

__all__ = ["extend_run"]

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_flow.calls import refuse_unknown
from cl_flow.data.extraction import fingerprint
from cl_flow.data.streams import StreamConfig, task_order
from cl_flow.runs.beginning import first_facts, whole_or_nothing, write_json
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.fingerprints import changed_since, weights_fingerprint
from cl_flow.runs.library import find_run, free_place
from cl_flow.strategies import STRATEGIES


def extend_run(
    config: RunConfig,
    facts: Mapping[str, Any],
    folder: Path,
    tasks: Sequence[Sequence[str]],
    runs: Path,
) -> tuple[RunConfig, Path]:
    """Begin a run of more tasks with all that a complete one has learned.

    Args:
        config: Of the complete run.
        facts: Contents of its run.json.
        folder: Of the complete run.
        tasks: Categories of each further task.
        runs: Folder of all runs.

    Returns:
        Config and folder of the longer run, which may be there already.

    Raises:
        KeyError, ValueError: As `Run.extend` says.
    """
    learned = [tuple(names) for names in facts["tasks"]]
    _refuse_mixed(config)
    _refuse_strategy(config)
    _refuse_other_whitening(config, learned)
    stream = _longer_stream(config, learned, [tuple(names) for names in tasks])
    _refuse_other_images(config, facts, learned)
    longer = dataclasses.replace(config, stream=stream)
    known = find_run(longer, runs)
    if known is not None:
        return longer, known
    place = free_place(longer, runs)
    with whole_or_nothing(place):
        place.mkdir(parents=True)
        for path in (*sorted(folder.glob("step-*.safetensors")), folder / "losses.csv"):
            shutil.copy2(path, place)
        kept = {key: facts[key] for key in ("steps", "imported") if key in facts}
        told = {**first_facts(longer), **kept, "extends": folder.name}
        write_json(place / "run.json", told)
    return longer, place


def _refuse_mixed(config: RunConfig) -> None:
    if config.stream.blur:
        raise ValueError(
            "Expected a run of tasks with boundaries, which end before others follow; "
            f"got blur={config.stream.blur:g}. Train the longer stream from its "
            "beginning: fit(run.config.replace(stream=…))."
        )


def _refuse_strategy(config: RunConfig) -> None:
    if not STRATEGIES[config.strategy].open_ended:
        raise ValueError(
            "Expected a strategy that learns a task without knowing how many follow; "
            f"got {config.strategy!r}. Train the longer stream from its beginning: "
            "fit(run.config.replace(stream=…))."
        )


def _refuse_other_whitening(
    config: RunConfig, learned: Sequence[tuple[str, ...]]
) -> None:
    """Refuse a run whose features were whitened with categories that it left out."""
    stream = config.stream
    then = [*(name for names in learned for name in names), *stream.without]
    first, *_ = task_order(then, dataclasses.replace(stream, without=()))
    if config.whiten is not None and first != learned[0]:
        raise ValueError(
            f"Expected features that were whitened on the first task, {learned[0]}, as "
            f"those of a longer stream are; got such of {first}."
        )


def _longer_stream(
    config: RunConfig,
    learned: Sequence[tuple[str, ...]],
    added: Sequence[tuple[str, ...]],
) -> StreamConfig:
    """Stream of the tasks that were learned and those that follow."""
    tasks = [*learned, *added]
    order = tuple(name for names in tasks for name in names)
    known = sorted(set(load_samples(config)["category"]))
    refuse_unknown("category", order, known)
    if not added or not all(added) or len(set(order)) < len(order):
        raise ValueError(
            "Expected one further task or more, of categories that are not learned "
            f"yet, each once; got {list(added)} after {list(learned)}."
        )
    others = tuple(name for name in known if name not in order)
    sizes = [len(names) for names in tasks] + [len(others)] * bool(others)
    return dataclasses.replace(
        config.stream, split=tuple(sizes), order=(*order, *others), without=others
    )


def _refuse_other_images(
    config: RunConfig, facts: Mapping[str, Any], learned: Sequence[tuple[str, ...]]
) -> None:
    """Refuse to go on where what was learned is no longer the same."""
    then = {name for names in learned for name in names} | set(config.stream.without)
    samples = load_samples(config)
    is_training = (samples["split"] == "train") & (samples["label"] == 0)
    data = fingerprint(samples[is_training & samples["category"].isin(then)])
    changed = changed_since(facts, data, weights_fingerprint(config.features))
    if changed is not None:
        raise ValueError(
            f"Expected the {changed} of {config.folder} as the run learned them, and "
            "further categories beside them; got others. Put those back."
        )
