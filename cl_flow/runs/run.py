"""A Run is one continual training on disk; a Snapshot is its model after one task."""

__all__ = ["Run", "RunConfig", "Snapshot", "load_samples"]

import dataclasses
import html
import json
import shutil
import subprocess
import time
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cl_flow.datasets import DATASETS
from cl_flow.features import FeatureConfig, Features, load_features
from cl_flow.flow import FlowConfig, FlowModel
from cl_flow.paths import DATA, atomic
from cl_flow.stream import StreamConfig, Task, make_stream, task_order
from cl_flow.train import TrainConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run; the same config gives the same bytes on the same machine.

    Args:
        dataset: Name in `DATASETS`.
        root: Its folder; None is `raw/<dataset>` below the data folder.
        strategy: Name in `STRATEGIES`.
        options: Keyword arguments of the strategy.
        centers: `"train"` lets old centers learn on, as HGAD does; `"freeze_old"` stops them.
        whiten: Channels to whiten each level to, fitted on the first task; None keeps the features as they are.
        features: What is extracted.
        stream: Which categories arrive when; its own seed orders them.
        flow: Shape of the model.
        train: How each task is trained.
        seed_model: Seeds initial weights, permutations and new centers.
        seed_data: Seeds batches.
    """

    dataset: str = "mvtec"
    root: str | None = None
    strategy: str = "finetune"
    options: Mapping[str, Any] = field(default_factory=dict)
    centers: str = "train"
    whiten: int | None = None
    features: FeatureConfig = field(default_factory=FeatureConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed_model: int = 0
    seed_data: int = 0

    def __post_init__(self) -> None:
        if self.centers not in ("train", "freeze_old"):
            raise ValueError(f"Expected centers='train' or 'freeze_old'; got {self.centers!r}.")
        if self.root is not None:
            object.__setattr__(self, "root", str(Path(self.root).expanduser().resolve()))
        DATASETS[self.dataset]

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with other values; `seed` changes the seeds of model and data together."""
        if "seed" in changes:
            seed = changes.pop("seed")
            changes = {"seed_model": seed, "seed_data": seed, **changes}
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return json.loads(json.dumps({**dataclasses.asdict(self), "options": dict(self.options)}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`."""
        return _build(cls, values)

    @property
    def name(self) -> str:
        """Folder name: readable, then six digits of the config's hash."""
        digest = blake2b(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:6]
        dataset = Path(self.root).name if self.dataset == "folder" and self.root else self.dataset
        return f"{dataset}-{self.strategy}-s{self.seed_model}-{digest}"


def _build(cls: type, values: Mapping[str, Any]) -> Any:
    hints, arguments = typing.get_type_hints(cls), {}
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            value = _build(hint, value)
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def load_samples(config: RunConfig) -> pd.DataFrame:
    """The samples of a config's dataset."""
    return DATASETS[config.dataset](Path(config.root) if config.root else DATA / "raw" / config.dataset)


@dataclass(frozen=True)
class Snapshot:
    """The model after one task, on disk.

    Args:
        path: The safetensors file.
        step: Index of the last task learnt.
    """

    path: Path
    step: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Shape of the model and the categories it knows, in order of arrival."""
        with safe_open(self.path, framework="pt") as file:
            return json.loads(file.metadata()["cl_flow"])

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that the model has a center for."""
        return tuple(self.facts["categories"])

    def model(self, device: str | torch.device = "cpu") -> FlowModel:
        """A new copy of the model, in evaluation mode."""
        facts = self.facts
        model = FlowModel(facts["dims"], facts["grids"], _build(FlowConfig, facts["config"]), seed=facts["seed"])
        tensors = self._tensors("model.")
        for i, level in enumerate(model.levels):
            level.mixture.allocate_(facts["blocks"], frames=f"levels.{i}.mixture._frame_weight" in tensors)
            level.class_codes = tensors.get(f"levels.{i}.class_codes")
        model.categories = self.categories
        model.load_state_dict(tensors)
        model.own = {key: value.to(device) for key, value in self._tensors("own.").items()}
        return model.to(device).eval()

    def memory(self) -> dict[str, Tensor]:
        """What the strategy keeps between tasks."""
        return self._tensors("memory.")

    @property
    def kept_bytes(self) -> int:
        """Bytes that the strategy keeps for the next task beside the model: its memory, and weights of single tasks."""
        return sum(value.nbytes for prefix in ("memory.", "own.") for value in self._tensors(prefix).values())

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        with safe_open(self.path, framework="pt") as file:
            return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}

    @staticmethod
    def write(path: Path, model: FlowModel, memory: Mapping[str, Tensor]) -> None:
        """Save a model and a strategy's memory; the file appears whole or not at all."""
        facts = {
            "dims": model.dims,
            "grids": model.grids,
            "seed": model.seed,
            "categories": model.categories,
            "config": dataclasses.asdict(model.config),
            "blocks": [len(block["mu"]) for block in model.levels[0].mixture.blocks()],
        }
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        tensors |= {f"own.{key}": value for key, value in model.own.items()}
        tensors |= {f"memory.{key}": value for key, value in memory.items()}
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"cl_flow": json.dumps(facts)})

    def __repr__(self) -> str:
        return f"Snapshot(step {self.step}: {len(self.categories)} classes)"


class Run:
    """One training on disk: a folder with `run.json`, `losses.csv`, a snapshot per task and, last, `complete`.

    A run is a sequence: `run[t]` is the snapshot after task t, `run[-1]` the last one.

    Args:
        folder: Where it lies; copied from another machine is fine.
        root: Folder of the images, where it is not the one in the run's config.
    """

    def __init__(self, folder: str | Path, *, root: str | Path | None = None) -> None:
        self.folder = Path(folder)
        if not (self.folder / "run.json").is_file():
            raise FileNotFoundError(f"Expected a run (a folder with run.json); got {self.folder}.")
        self.config = RunConfig.from_dict(self.facts["config"])
        if root is not None:
            self.config = self.config.replace(root=str(root))

    @classmethod
    def at(cls, config: RunConfig, *, folder: str | Path | None = None) -> "Run":
        """The run of a config below `folder` (the data folder's `runs`), begun if there is none."""
        place = Path(folder or DATA / "runs") / config.name
        if not (place / "run.json").is_file():
            place.mkdir(parents=True, exist_ok=True)
            _write_json(place / "run.json", {"config": config.to_dict(), **_provenance(), "steps": []})
        return cls(place)

    # ---- what it holds

    @property
    def facts(self) -> dict[str, Any]:
        """The contents of run.json: config, versions, and per step its categories, seconds and device."""
        return json.loads((self.folder / "run.json").read_text())

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
    def is_complete(self) -> bool:
        """Whether every task has been learnt."""
        return (self.folder / "complete").is_file()

    def __len__(self) -> int:
        """Tasks learnt so far: those with a snapshot in an unbroken row."""
        n = 0
        while self._snapshot(n).is_file():
            n += 1
        return n

    def __getitem__(self, step: int) -> Snapshot:
        n = len(self)
        if not -n <= step < n:
            raise IndexError(f"Expected a step between {-n} and {n - 1} of {self.name}; got {step}.")
        return Snapshot(self._snapshot(step % n), step % n)

    @property
    def losses(self) -> pd.DataFrame:
        """One row per step, epoch, level and term: `step epoch level term value`."""
        return pd.read_csv(self.folder / "losses.csv")

    @cached_property
    def features(self) -> Features:
        """The features it was trained on, test images included."""
        return _features(self.config)

    @cached_property
    def tasks(self) -> list[tuple[str, ...]]:
        """The categories of each task of the stream (also for a joint run, which learns them at once)."""
        return task_order(load_samples(self.config)["category"], self.config.stream)

    def stream(self) -> list[Task]:
        """The stream as it arrives, before the strategy arranges it."""
        return make_stream(self.features, self.config.stream)

    # ---- writing, for `fit`

    def lock(self) -> FileLock:
        """Held by the process that trains."""
        return FileLock(self.folder / ".lock")

    def write(
        self, model: FlowModel, task: Task, losses: pd.DataFrame, memory: Mapping[str, Tensor], seconds: float
    ) -> None:
        """Add one learnt task; its snapshot is written last, and makes it count."""
        losses = losses.assign(step=task.index)[["step", "epoch", "level", "term", "value"]]
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
        _write_json(self.folder / "run.json", {**self.facts, "steps": [*self.facts["steps"][: task.index], step]})
        Snapshot.write(self._snapshot(task.index), model, memory)

    def finish(self) -> None:
        """Mark the run as whole."""
        with atomic(self.folder / "complete") as path:
            path.write_text(time.strftime("%Y-%m-%dT%H:%M:%S%z\n"))

    def clear(self) -> None:
        """Throw away everything learnt and every cached table; the config stays."""
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
        return f"Run({self.name}: {len(self)} tasks learnt, {state})"

    def _repr_html_(self) -> str:
        steps = pd.DataFrame(self.facts["steps"])
        table = steps.assign(categories=steps["categories"].map(", ".join)).to_html() if len(steps) else ""
        return f"<p><b>{html.escape(repr(self))}</b><br><code>{html.escape(str(self.folder))}</code></p>{table}"


def _features(config: RunConfig) -> Features:
    samples = load_samples(config)
    features = load_features(samples, config.features)
    if config.whiten is None:
        return features
    whole = dataclasses.replace(config.stream, without=())
    return features.whitened(config.whiten, fit_on=task_order(samples["category"], whole)[0])


def _provenance() -> dict[str, Any]:
    names = ("torch", "timm", "FrEIA", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or None,
        "versions": {name: version(name) for name in names},
        "begun": time.strftime("%FT%T%z"),
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1))
