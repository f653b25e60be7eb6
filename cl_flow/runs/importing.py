"""Importing: a run on disk made of another training's checkpoint files."""

__all__ = ["import_checkpoints", "source_of"]

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cl_flow.calls import refuse_unknown
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.features import Features
from cl_flow.data.streams import StreamConfig
from cl_flow.identity import digest_of
from cl_flow.model.flow import FlowModel
from cl_flow.runs.beginning import (
    first_facts,
    run_features,
    whole_or_nothing,
    write_json,
)
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.hgad import (
    BEST_BY,
    CLAMP_RULES,
    Checkpoint,
    checkpoint_paths,
    model_of,
    read_checkpoint,
)
from cl_flow.runs.hgad_settings import Settings, find_settings
from cl_flow.runs.library import find_run, free_place
from cl_flow.runs.snapshot import Snapshot
from cl_flow.scoring.normality import Certainty, normality_of
from cl_flow.training.config import TrainConfig

PER_CATEGORY = 8  # normal training images that tell which log-scale a file has
APART = 3.0  # standard errors that its mean log p is to be above the other's by


@dataclass(frozen=True)
class _Source:
    """Checkpoint files of one training, and what they do not tell.

    Args:
        checkpoints: After each task.
        tasks: Categories of each task, at least of those that have a file.
        features: Backbone and pyramid.
        alpha: Clamp of the couplings.
        settings: What else is known of the training.
        best_by: `"img"` or `"pix"`.
    """

    checkpoints: list[Checkpoint]
    tasks: list[tuple[str, ...]]
    features: FeatureConfig
    alpha: float
    settings: Settings
    best_by: str

    def config(self, dataset: str, root: str | None) -> RunConfig:
        """Config of a run that would learn on from the last file."""
        settings = self.settings
        flow = dataclasses.replace(self.checkpoints[0].flow, clamp=self.alpha)
        config = RunConfig(
            dataset=dataset,
            root=root,
            features=self.features,
            flow=flow,
            train=settings.train or TrainConfig(),
            seed_model=settings.seed or 0,
            seed_data=settings.seed or 0,
        )
        known = sorted(set(load_samples(config)["category"]))
        order = tuple(name for names in self.tasks for name in names)
        refuse_unknown("category", order, known)
        others = tuple(name for name in known if name not in order)
        sizes = (*map(len, self.tasks), len(others))
        stream = StreamConfig(
            split=tuple(size for size in sizes if size),
            order=(*order, *others),
            without=others,
        )
        return config.replace(stream=stream)

    def model(
        self, step: int, config: RunConfig, features: Features, rule: str
    ) -> FlowModel:
        return model_of(
            self.checkpoints[step],
            config.flow,
            features.grids,
            self.tasks[: step + 1],
            seed=config.seed_model,
            rule=rule,
        )


def import_checkpoints(
    folder: Path,
    *,
    dataset: str,
    root: str | None,
    tasks: Sequence[Sequence[str]] | None,
    given: Settings,
    rule: str,
    best_by: str,
    runs: Path,
) -> tuple[RunConfig, Path]:
    """Make a run of checkpoint files, or find it where it was made before.

    Args:
        folder: Folder of the files, or one above it.
        dataset: Name in `DATASETS`.
        root: Its folder.
        tasks: Categories of each task.
        given: What goes before what a `config.json` tells.
        rule: Which log-scale the files have, or `"auto"`.
        best_by: Which of two files a task is read from.
        runs: Folder of all runs.

    Returns:
        Config and folder of the run.

    Raises:
        FileNotFoundError, KeyError, ValueError: As `Run.from_hgad` says.
    """
    refuse_unknown("file", best_by, BEST_BY)
    refuse_unknown("clamp rule", rule, ("auto", *CLAMP_RULES))
    source = _read(folder, tasks, given, best_by)
    config = source.config(dataset, root)
    features = run_features(config)
    _refuse_other_features(source, features, config)
    log_p = _mean_log_p(source, config, features) if rule == "auto" else {}
    chosen = max(log_p, key=lambda name: log_p[name]) if log_p else rule
    imported = _facts(source, chosen, log_p)
    digests = [file["digest"] for file in imported["files"]]
    origin = digest_of([digests, chosen, imported["trainable"]], 12)
    config = dataclasses.replace(config, origin=origin)
    known = find_run(config, runs)
    if known is not None:
        return config, known
    place = free_place(config, runs)
    with whole_or_nothing(place):
        _write(place, source, config, features, imported)
    return config, place


def _read(
    folder: Path,
    tasks: Sequence[Sequence[str]] | None,
    given: Settings,
    best_by: str,
) -> _Source:
    paths = checkpoint_paths(folder, best_by)
    told = find_settings(paths[0])
    values = {
        field.name: getattr(given, field.name) or getattr(told, field.name)
        for field in dataclasses.fields(Settings)
    }
    if given.seed is not None:
        values["seed"] = given.seed
    if given.train is not None:
        values["passes"] = given.train.epochs
    settings = Settings(**values)
    named = [tuple(names) for names in tasks or ()]
    features, alpha = settings.features, settings.alpha
    if not named or features is None or not alpha:
        raise _question(named, settings)
    checkpoints = [read_checkpoint(path) for path in paths]
    _refuse_other_shapes(checkpoints, named)
    return _Source(checkpoints, named, features, alpha, settings, best_by)


def _question(tasks: Sequence[tuple[str, ...]], settings: Settings) -> ValueError:
    """What the files lack and nobody gave, asked for in a sentence."""
    asked = []
    if not tasks:
        asked.append("tasks=[(…), …], the categories of each expansion in order")
    if settings.features is None:
        asked.append(
            "features=FeatureConfig(…), the backbone with the tag of its weights, "
            "image size and scales"
        )
    if not settings.alpha:
        asked.append("alpha=…, the clamp of the couplings (HGAD's is 1.9)")
    where = settings.path or "there is no config.json beside them or two folders up"
    return ValueError(
        f"Expected {'; '.join(asked)}: the files do not tell; got none ({where})."
    )


def _refuse_other_shapes(
    checkpoints: Sequence[Checkpoint], tasks: Sequence[tuple[str, ...]]
) -> None:
    """Refuse files of several shapes, or of other classes than the tasks name."""
    first = checkpoints[0]
    for step, checkpoint in enumerate(checkpoints):
        shape = (checkpoint.flow, checkpoint.dims)
        if shape != (first.flow, first.dims):
            raise ValueError(
                f"Expected files of one training; got {shape} in {checkpoint.path} "
                f"and {(first.flow, first.dims)} in {first.path}."
            )
        sizes = [len(names) for names in tasks[: step + 1]]
        if len(sizes) <= step or sum(sizes) != checkpoint.n_classes:
            raise ValueError(
                f"Expected tasks=… to name the {checkpoint.n_classes} categories of "
                f"{checkpoint.path} in its first {step + 1} tasks; got {sizes}."
            )


def _refuse_other_features(
    source: _Source, features: Features, config: RunConfig
) -> None:
    dims = source.checkpoints[0].dims
    if features.dims != dims:
        raise ValueError(
            f"Expected features of {dims} channels, as the files have; got "
            f"{features.dims} of {config.features}. Name the backbone, scales and "
            "stages that they were trained on: features=FeatureConfig(…)."
        )


# ---- which log-scale


def _mean_log_p(
    source: _Source, config: RunConfig, features: Features
) -> dict[str, float]:
    """Mean log p(x|y)/D of normal training patches by either log-scale.

    They are the first images of each category of the first task, under its own file. Of
    a training that was stopped early, the steeper log-scale may have the higher one
    though it is not the file's.

    Raises:
        ValueError: Neither is clearly higher.
    """
    training = features.where(split="train", label=0, category=list(source.tasks[0]))
    few = training.samples.groupby("category").head(PER_CATEGORY)
    images = training.take(few.index)
    values = {}
    for rule in CLAMP_RULES:
        model = source.model(0, config, features, rule)
        with torch.inference_mode():
            levels, _ = normality_of(model, images, Certainty(), given="category")
        by_level = [factors[:, 0].double().mean(1) for factors in levels]
        values[rule] = torch.stack(by_level).mean(0)
    means = {rule: float(each.mean()) for rule, each in values.items()}
    gap = values["published"] - values["vendored"]
    error = float(gap.std()) / math.sqrt(len(gap)) if len(gap) > 1 else math.inf
    if not abs(float(gap.mean())) > APART * error:
        told = ", ".join(f"{rule} {mean:.4f}" for rule, mean in means.items())
        raise ValueError(
            "Expected a mean log p of normal training patches that tells which "
            f"log-scale the files have; got {told}. Say rule='published' "
            f"({CLAMP_RULES['published']}) or rule='vendored' "
            f"({CLAMP_RULES['vendored']})."
        )
    return means


# ---- on disk


def _facts(source: _Source, rule: str, log_p: Mapping[str, float]) -> dict[str, Any]:
    """Where a run comes from, for its run.json."""
    passes = source.settings.passes
    files = [
        {
            "name": one.path.name,
            "digest": one.digest,
            "epoch": one.epoch,
            "last": None if passes is None else one.epoch == passes - 1,
        }
        for one in source.checkpoints
    ]
    return {
        "files": files,
        "best_by": source.best_by,
        "rule": rule,
        "log_p": dict(log_p),
        "trainable": source.settings.train is not None,
        "settings": str(source.settings.path) if source.settings.path else None,
    }


def _write(
    place: Path,
    source: _Source,
    config: RunConfig,
    features: Features,
    imported: dict[str, Any],
) -> None:
    """Write a run; run.json comes last, and makes it one."""
    facts = {**first_facts(config), "imported": imported}
    training = features.where(split="train", label=0)
    for step, names in enumerate(source.tasks[: len(source.checkpoints)]):
        model = source.model(step, config, features, imported["rule"])
        Snapshot.write(place / f"step-{step:02d}.safetensors", model, {})
        images = len(training.where(category=list(names)))
        learned = {"categories": names, "images": images, "seconds": None}
        facts["steps"].append(learned)
    (place / "losses.csv").write_text("step,epoch,level,term,value\n")  # unknown
    if len(source.checkpoints) == len(source.tasks):
        (place / "complete").write_text(f"{facts['begun']}\n")
    write_json(place / "run.json", facts)


def source_of(facts: Mapping[str, Any]) -> str:
    """Where a run comes from, in words; empty where it was trained here.

    Args:
        facts: Contents of its run.json.
    """
    imported = facts.get("imported")
    if imported is None:
        return ""
    best = f"best pass on test data by {BEST_BY[imported['best_by']]}"
    last = [file["last"] for file in imported["files"]]
    if all(last):
        weights = "last weights"
    elif None in last:
        weights = f"{best}, or last weights, which its files do not tell"
    elif any(last):
        tasks = ", ".join(str(step + 1) for step, one in enumerate(last) if one)
        weights = f"{best}, which are the last weights of task {tasks}"
    else:
        weights = best
    scale = CLAMP_RULES[imported["rule"]]
    how = "by its log p" if imported["log_p"] else "as was said"
    return f"imported from checkpoints of HGAD: {weights}; log-scale {scale} {how}"
