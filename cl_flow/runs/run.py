"""Run: one continual training on disk."""

__all__ = ["Run"]

import dataclasses
import html
import json
import logging
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor

from cl_flow.calls import fitted
from cl_flow.data.extraction import load_features
from cl_flow.data.features import Features
from cl_flow.data.streams import Task, make_stream, task_order
from cl_flow.identity import completed, differing, digest_of
from cl_flow.model.flow import FlowModel
from cl_flow.paths import DATA, atomic
from cl_flow.runs.config import ELSEWHERE, RunConfig, load_samples
from cl_flow.runs.fingerprints import (
    changed_since,
    training_fingerprint,
    weights_fingerprint,
    whole_fingerprint,
)
from cl_flow.runs.library import find_run, free_place
from cl_flow.runs.schema import SCHEMA, read_facts
from cl_flow.runs.snapshot import Snapshot
from cl_flow.strategies import STRATEGIES

log = logging.getLogger(__name__)


class Run:
    """One training on disk.

    Its folder holds `run.json`, `losses.csv`, a snapshot per task and, last,
    `complete`. A run is a sequence: `run[t]` is the snapshot after task t, `run[-1]`
    the last one.

    Args:
        folder: Where it lies; copied from another machine is fine.
        root: Folder of the images, where it is not the one in the run's config.

    Example:
        >>> len(run), run.is_complete
        (2, True)
        >>> run[-1].categories == sum(run.tasks, ())
        True
    """

    def __init__(self, folder: str | Path, *, root: str | Path | None = None) -> None:
        self.folder = fitted("Run(folder=…)", folder, Path)
        self.config = RunConfig.from_dict(self.facts["config"])
        if root is not None:
            self.config = self.config.replace(root=str(root))

    @classmethod
    def find(
        cls, config: RunConfig, *, folder: str | Path | None = None
    ) -> "Run | None":
        """Run of a config, if there is one, whatever its folder is called.

        Args:
            config: Of the run.
            folder: Folder of all runs; the data folder's `runs` by default.
        """
        place = find_run(config, Path(folder or DATA / "runs"))
        return None if place is None else cls._asked_for(config, place)

    @classmethod
    def at(cls, config: RunConfig, *, folder: str | Path | None = None) -> "Run":
        """Run of a config, begun if there is none.

        Args:
            config: Of the run.
            folder: Folder of all runs; the data folder's `runs` by default.
        """
        runs = Path(folder or DATA / "runs")
        place = find_run(config, runs) or _begin(config, runs)
        return cls._asked_for(config, place)

    @classmethod
    def _asked_for(cls, config: RunConfig, place: Path) -> "Run":
        """Run on disk under the config that asks; its images may lie elsewhere."""
        run = cls(place)
        run.config = config
        return run

    # ---- what it holds

    @property
    def facts(self) -> dict[str, Any]:
        """Contents of run.json: config, versions, and facts of every step.

        Those are its categories, images, seconds and device.
        """
        return read_facts(self.folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def strategy(self) -> str:
        return self.config.strategy

    @property
    def seed(self) -> int:
        return self.config.seed_model

    @property
    def kind(self) -> dict[str, str]:
        """In what runs differ beside strategy and seed; what no two differ in is alike.

        Read from the run alone; its images may be elsewhere.

        Returns:
            `dataset`, `stream` and the strategy's `options` in words, and as `setup` a
            digest of all the rest: images, features, flow, training.
        """
        config = self.config
        facts = self.facts
        rest = differing(config)
        stream = rest.pop("stream", {})
        for name in (*ELSEWHERE, "seed_model", "seed_data"):
            rest.pop(name, None)
        given = facts["options"] or dict(config.options)
        usual = {}
        if config.strategy in STRATEGIES:
            usual = completed(STRATEGIES[config.strategy], {})
        options = {k: v for k, v in given.items() if k not in usual or v != usual[k]}
        return {
            "dataset": config.title,
            "stream": _in_words(stream),
            "options": _in_words(options),
            "setup": digest_of([rest, facts["data"]], 6),
        }

    @property
    def is_complete(self) -> bool:
        """Whether every task has been learned, and its snapshot is there."""
        is_marked = (self.folder / "complete").is_file()
        return is_marked and len(self) >= max(1, len(self.facts["steps"]))

    @property
    def n_whole(self) -> int:
        """Tasks learned whose snapshots are whole, in an unbroken row."""
        for step in range(len(self)):
            try:
                self[step].verify()
            except ValueError as error:
                log.warning("%s", error)
                return step
        return len(self)

    def __len__(self) -> int:
        """Tasks learned so far: those with a snapshot in an unbroken row."""
        n = 0
        while self._snapshot(n).is_file():
            n += 1
        return n

    def __getitem__(self, step: int) -> Snapshot:
        """Model after a task, counted from the first or from the last.

        Raises:
            TypeError: Not one number; `[run[step] for step in …]` takes several.
            IndexError: No such task is learned.
        """
        n = len(self)
        step = fitted("run[step]", step, int)
        if not -n <= step < n:
            raise IndexError(
                f"Expected a step between {-n} and {n - 1} of {self.name}; got {step}."
            )
        return Snapshot(self._snapshot(step % n), step % n)

    @property
    def losses(self) -> pd.DataFrame:
        """One row per step, epoch, level and term: `step epoch level term value`."""
        return pd.read_csv(self.folder / "losses.csv")

    @cached_property
    def features(self) -> Features:
        """Features that it was trained on, test images included.

        Raises:
            ValueError: The training images, or the backbone's weights, are not those
                that it learned.
        """
        self._expect_what_it_learnt()
        return _features(self.config)

    @cached_property
    def tasks(self) -> list[tuple[str, ...]]:
        """Categories of each task of the stream, as they were when the run began.

        A joint run has them too, though it learns them at once.
        """
        known = self.facts.get("tasks")
        if known is not None:
            return [tuple(names) for names in known]
        return task_order(load_samples(self.config)["category"], self.config.stream)

    @property
    def evidence(self) -> str:
        """Digest of what its tables are measured on: images, masks, and weights.

        Empty where the images are not on this machine.
        """
        config = self.config
        try:
            images = whole_fingerprint(config.dataset, config.folder)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return digest_of([images, weights_fingerprint(config.features)], 8)

    def _expect_what_it_learnt(self) -> None:
        facts = self.facts
        config = self.config
        data = training_fingerprint(config.dataset, config.folder)
        weights = weights_fingerprint(config.features)
        changed = changed_since(facts, data, weights)
        if changed == "training images":
            learnt = sum(step["images"] for step in facts["steps"])
            raise ValueError(
                f"Expected the training images of {self.name}, which learned {learnt}; "
                f"got others in {config.folder}. Put those back, or name their folder, "
                "Run(path, root=...); fit(run.config) learns what is there now."
            )
        if changed == "weights":
            raise ValueError(
                f"Expected the weights of {config.features.backbone} that {self.name} "
                "learned with; got others under their name. Put those back; "
                "fit(run.config) learns with what is there now."
            )

    def stream(self) -> list[Task]:
        """Tasks as they arrive, before the strategy arranges them."""
        return make_stream(self.features, self.config.stream)

    # ---- writing, for `fit`

    def lock(self) -> FileLock:
        """Lock that the process holds that trains."""
        return FileLock(self.folder / ".lock")

    def write(
        self,
        model: FlowModel,
        task: Task,
        losses: pd.DataFrame,
        memory: Mapping[str, Tensor],
        seconds: float,
    ) -> None:
        """Add one learned task; its snapshot is written last, and makes it count."""
        columns = ["step", "epoch", "level", "term", "value"]
        losses = losses.assign(step=task.index)[columns]
        if task.index:
            before = self.losses
            losses = pd.concat([before[before["step"] < task.index], losses])
        with atomic(self.folder / "losses.csv") as path:
            losses.to_csv(path, index=False)
        step = {
            "categories": task.categories,
            "images": len(task.features),
            "seconds": round(seconds, 3),
            "device": str(model.levels[0].codes.device),
            "threads": torch.get_num_threads(),
        }
        facts = self.facts
        facts["steps"] = [*facts["steps"][: task.index], step]
        _write_json(self.folder / "run.json", facts)
        Snapshot.write(self._snapshot(task.index), model, memory)

    def finish(self) -> None:
        """Mark the run as whole."""
        with atomic(self.folder / "complete") as path:
            path.write_text(time.strftime("%Y-%m-%dT%H:%M:%S%z\n"))

    def clear(self) -> None:
        """Throw away everything learned and every cached table; the config stays."""
        (self.folder / "complete").unlink(missing_ok=True)
        for path in sorted(self.folder.glob("step-*.safetensors"), reverse=True):
            path.unlink()
        (self.folder / "losses.csv").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tables", ignore_errors=True)
        _write_json(self.folder / "run.json", {**self.facts, "steps": []})

    def _snapshot(self, step: int) -> Path:
        return self.folder / f"step-{step:02d}.safetensors"

    # ---- looks

    def __repr__(self) -> str:
        state = "complete" if self.is_complete else "unfinished"
        return f"Run({self.name}: {len(self)} tasks learned, {state})"

    def _repr_html_(self) -> str:
        steps = pd.DataFrame(self.facts["steps"])
        table = ""
        if len(steps):
            categories = steps["categories"].map(", ".join)
            tasks = pd.RangeIndex(1, len(steps) + 1, name="task")
            table = steps.assign(categories=categories).set_index(tasks).to_html()
        title = f"<b>{html.escape(repr(self))}</b>"
        place = f"<code>{html.escape(str(self.folder))}</code>"
        return f"<p>{title}<br>{place}</p>{table}"


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "default"


def _features(config: RunConfig) -> Features:
    samples = load_samples(config)
    features = load_features(samples, config.features)
    if config.whiten is None:
        return features
    whole = dataclasses.replace(config.stream, without=())
    first, *_ = task_order(samples["category"], whole)
    return features.whitened(config.whiten, fit_on=first)


def _begin(config: RunConfig, runs: Path) -> Path:
    """Folder of a run that has learned nothing yet."""
    place = free_place(config, runs)
    facts = {
        "schema": SCHEMA,
        "config": config.to_dict(),
        "options": config.all_options,
        "data": config.identity()["data"],
        "weights": weights_fingerprint(config.features),
        "tasks": task_order(load_samples(config)["category"], config.stream),
        **_provenance(),
        "steps": [],
    }
    _write_json(place / "run.json", facts)
    return place


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


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1))
