"""The configuration that decides a run."""

__all__ = ["RunConfig", "build_config", "load_samples"]

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.datasets import DATASETS
from cl_flow.data.streams import StreamConfig
from cl_flow.model.flow import FlowConfig
from cl_flow.paths import DATA
from cl_flow.training.config import TrainConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run; the same config gives the same bytes on the same
    machine.

    Args:
        dataset: Name in `DATASETS`.
        root: Its folder; None is `raw/<dataset>` below the data folder.
        strategy: Name in `STRATEGIES`.
        options: Keyword arguments of the strategy.
        centers: `"train"` lets old centers learn on, as HGAD does; `"freeze_old"` stops
            them.
        whiten: Channels to whiten each level to, fitted on the first task; None keeps
            the features as they are.
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
            raise ValueError(
                f"Expected centers='train' or 'freeze_old'; got {self.centers!r}."
            )
        if self.root is not None:
            object.__setattr__(
                self, "root", str(Path(self.root).expanduser().resolve())
            )
        DATASETS[self.dataset]

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with other values; `seed` changes the seeds of model and data
        together.
        """
        if "seed" in changes:
            seed = changes.pop("seed")
            changes = {"seed_model": seed, "seed_data": seed, **changes}
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return json.loads(
            json.dumps({**dataclasses.asdict(self), "options": dict(self.options)})
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`."""
        return build_config(cls, values)

    @property
    def name(self) -> str:
        """Folder name: readable, then six digits of the config's hash."""
        digest = blake2b(
            json.dumps(self.to_dict(), sort_keys=True).encode()
        ).hexdigest()[:6]
        dataset = (
            Path(self.root).name
            if self.dataset == "folder" and self.root
            else self.dataset
        )
        return f"{dataset}-{self.strategy}-s{self.seed_model}-{digest}"


def build_config(cls: type, values: Mapping[str, Any]) -> Any:
    hints, arguments = typing.get_type_hints(cls), {}
    for key, value in values.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            value = build_config(hint, value)
        arguments[key] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def load_samples(config: RunConfig) -> pd.DataFrame:
    """The samples of a config's dataset."""
    return DATASETS[config.dataset](
        Path(config.root) if config.root else DATA / "raw" / config.dataset
    )
