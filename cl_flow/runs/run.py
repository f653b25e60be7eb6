"""Run: one continual training on disk."""

__all__ = ["Run"]

import html
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor

from cl_flow.calls import checked, fitted
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.features import Features
from cl_flow.data.streams import Task, make_stream, task_order
from cl_flow.identity import completed, differing, digest_of
from cl_flow.model.base import Model
from cl_flow.paths import DATA, atomic
from cl_flow.runs.beginning import begin, run_features, write_json
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.extending import extend_run
from cl_flow.runs.fingerprints import (
    changed_since,
    training_fingerprint,
    weights_fingerprint,
    whole_fingerprint,
)
from cl_flow.runs.hgad_settings import Settings
from cl_flow.runs.importing import import_checkpoints, source_of
from cl_flow.runs.library import find_run
from cl_flow.runs.schema import read_facts
from cl_flow.runs.snapshot import Snapshot
from cl_flow.strategies import STRATEGIES
from cl_flow.training.config import TrainConfig

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
        place = find_run(config, runs) or begin(config, runs)
        return cls._asked_for(config, place)

    @classmethod
    @checked
    def from_hgad(
        cls,
        folder: str | Path,
        *,
        dataset: str,
        root: str | Path | None = None,
        tasks: Sequence[Sequence[str]] | None = None,
        features: FeatureConfig | None = None,
        alpha: float | None = None,
        train: TrainConfig | None = None,
        seed: int | None = None,
        rule: str = "auto",
        best_by: str = "img",
        runs: str | Path | None = None,
    ) -> "Run":
        """Run made of the checkpoint files of HGAD's public continuation.

        `HGAD_<dataset>_task_<t>_{img,pix}.pt`, one for each task, t from 0; each holds
        the best pass on the task's *test* images, which is the last one, from which
        the next task goes on, only where its `epoch` says so: `run.source` tells. The
        weights are converted exactly, and tensors alone are read of a file. What the
        files lack is taken from a `config.json` in their folder or the two above it,
        unless it is given. Imported again, the same files are the same run.

        References:
            Continual learning for HGAD (pull request, commit a52b51c, 2025)
            https://github.com/xcyao00/HGAD/pull/5

        Args:
            folder: Folder of the files, or one above it.
            dataset: Name in `DATASETS` of the images it was trained on.
            root: Their folder; None is `raw/<dataset>` below the data folder.
            tasks: Categories of each task, in order of arrival. Tasks beyond the files
                are left to be learned here, from the last file's weights on:
                `fit(run.config)`.
            features: Backbone, with the tag of its weights, image size and scales.
            alpha: Clamp of the couplings.
            train: How each task was trained; without it, nor a `config.json`, the run
                learns no further task.
            seed: Of the training.
            rule: Log-scale of the couplings, a key of
                `cl_flow.runs.hgad.CLAMP_RULES`; `"auto"` takes the one that gives
                normal training patches the higher mean log p, which a training that
                was stopped early may have under the other: say it where you know.
            best_by: `"img"` or `"pix"`: the file of the best image or pixel AUROC.
            runs: Folder of all runs; the data folder's `runs` by default.

        Raises:
            FileNotFoundError: No file, or none of a task before the last.
            KeyError: An unknown category, dataset, rule or file.
            ValueError: What the files lack is not given; a file is cut short, another
                program's, or lacks something; its shapes do not fit the tasks or the
                features; or its log-scale cannot be told.
        """
        config, place = import_checkpoints(
            Path(folder).expanduser(),
            dataset=dataset,
            root=None if root is None else str(root),
            tasks=tasks,
            given=Settings(features=features, alpha=alpha, train=train, seed=seed),
            rule=rule,
            best_by=best_by,
            runs=Path(runs or DATA / "runs"),
        )
        return cls._asked_for(config, place)

    @checked
    def extend(
        self,
        tasks: Sequence[Sequence[str]],
        *,
        folder: str | Path | None = None,
    ) -> "Run":
        """Run of a longer stream, begun with all that this one has learned.

        `fit(run.extend([("gnu", "yak")]).config)` learns the further tasks alone, from
        the last snapshot and the strategy's memory on, and can be interrupted as any
        training can; this run stays. Its bytes are those of a run that learns the
        longer stream from the beginning.

        Args:
            tasks: Categories of each further task: such as were left out of the stream,
                or have come to the folder of the images since.
            folder: Folder of all runs; the one that this one lies in by default.

        Raises:
            KeyError: A category without images.
            ValueError: The run is not complete; its stream has no boundaries
                (`StreamConfig.blur`); its strategy needs to know how many tasks there
                are (`Strategy.open_ended`); a category is learned already, or named
                twice; the images, or the weights, that it learned have changed; or its
                features were whitened with categories left out.

        Returns:
            The longer run, with this one's tasks learned.
        """
        if not self.is_complete:
            raise ValueError(
                f"Expected a complete run to extend; got {self!r}. fit(run.config) "
                "completes it."
            )
        runs = Path(folder or self.folder.parent)
        facts = {**self.facts, "tasks": self.tasks}
        config, place = extend_run(self.config, facts, self.folder, tasks, runs)
        return self._asked_for(config, place)

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
    def source(self) -> str:
        """Where it comes from, in words; empty where it was trained here."""
        return source_of(self.facts)

    @property
    def kind(self) -> dict[str, str]:
        """In what runs differ beside strategy and seed; what no two differ in is alike.

        Read from the run alone; its images may be elsewhere.

        Returns:
            `dataset`, `stream` and the strategy's `options` in words, and as `setup` a
            digest of all the rest: images, features, flow, training, and by what metric
            passes were chosen where it was imported; after the model's name where that
            is no flow.
        """
        config = self.config
        facts = self.facts
        rest = differing(config)
        stream = rest.pop("stream", {})
        for name in (*config.elsewhere, "seed_model", "seed_data", "origin"):
            rest.pop(name, None)
        if "imported" in facts:
            rest["imported"] = facts["imported"]["best_by"]
        given = facts["options"] or dict(config.options)
        usual = {}
        if config.strategy in STRATEGIES:
            usual = completed(STRATEGIES[config.strategy], {})
        options = {k: v for k, v in given.items() if k not in usual or v != usual[k]}
        setup = digest_of([rest, facts["data"]], 6)
        return {
            "dataset": config.title,
            "stream": _in_words(stream),
            "options": _in_words(options),
            "setup": setup if config.is_flow else f"{config.model} {setup}",
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
        return run_features(self.config)

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
        model: Model,
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
            before = before[before["step"] < task.index]
            # Of imported tasks there are none.
            losses = pd.concat([before, losses]) if len(before) else losses
        with atomic(self.folder / "losses.csv") as path:
            losses.to_csv(path, index=False)
        step = {
            "categories": task.categories,
            "images": len(task.features),
            "seconds": round(seconds, 3),
            "device": str(model.device),
            "threads": torch.get_num_threads(),
        }
        facts = self.facts
        facts["steps"] = [*facts["steps"][: task.index], step]
        write_json(self.folder / "run.json", facts)
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
        write_json(self.folder / "run.json", {**self.facts, "steps": []})

    def _snapshot(self, step: int) -> Path:
        return self.folder / f"step-{step:02d}.safetensors"

    # ---- looks

    def __repr__(self) -> str:
        state = "complete" if self.is_complete else "unfinished"
        source = f"; {self.source}" if self.source else ""
        return f"Run({self.name}: {len(self)} tasks learned, {state}{source})"

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
