"""Configuration that decides a run, and the name that it gives."""

__all__ = ["ELSEWHERE", "RunConfig", "build_config", "load_samples", "new_strategy"]

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cl_flow.calls import checked
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.datasets import DATASETS
from cl_flow.data.streams import StreamConfig
from cl_flow.identity import completed, differing, digest_of, settle, typed
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.model.models import MODELS
from cl_flow.model.reconstruction import IUFConfig, UniADConfig
from cl_flow.paths import DATA, folder_name
from cl_flow.runs.fingerprints import training_fingerprint
from cl_flow.strategies import STRATEGIES, Strategy
from cl_flow.training.config import TrainConfig

IDENTITY = 2  # number of the rule by which names are made
ELSEWHERE = ("dataset", "root", "strategy", "options")  # enter a name in another form


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    The same config gives the same bytes on the same machine.

    Args:
        dataset: Name in `DATASETS`.
        root: Its folder; None is `raw/<dataset>` below the data folder.
        strategy: Name in `STRATEGIES`.
        options: Keyword arguments of the strategy.
        model: Name in `MODELS`: `"flow"` (HGAD), `"uniad"` or `"iuf"`. Its own field
            below shapes it; the others' fields are not read, and enter no name.
        centers: `"train"` lets old centers learn on, as HGAD does; `"freeze_old"` stops
            them.
        whiten: Channels to whiten each level to, fitted on the first task, on all of
            its images whenever they come; None keeps the features as they are.
        features: What is extracted.
        stream: Which categories arrive when; its own seed orders them.
        flow: Shape of the flow.
        train: How a flow is trained on each task.
        uniad: Shape and training of UniAD.
        iuf: Shape and training of IUF.
        seed_model: Seeds initial weights, permutations and new centers.
        seed_data: Seeds batches.
        origin: Digest of the checkpoint files that the run was made of
            (`Run.from_hgad`); None is one that is trained here.

    Example:
        >>> config = RunConfig(strategy="ewc", options={"strength": 10.0})
        >>> config.replace(seed=1).options
        {'strength': 10.0}
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
    model: str = FlowModel.name
    uniad: UniADConfig = field(default_factory=UniADConfig)
    iuf: IUFConfig = field(default_factory=IUFConfig)
    origin: str | None = None

    def __post_init__(self) -> None:
        settle(self, whiten=(2, math.inf))
        if self.centers not in ("train", "freeze_old"):
            raise ValueError(
                f"Expected centers='train' or 'freeze_old'; got {self.centers!r}."
            )
        if self.root is not None:
            root = Path(self.root).expanduser().resolve()
            object.__setattr__(self, "root", str(root))
        DATASETS[self.dataset]
        MODELS[self.model]
        if not self.is_flow and self.centers != "train":
            raise ValueError(
                f"Expected centers='train' with model={self.model!r}, which has none; "
                f"got {self.centers!r}."
            )
        if self.stream.blur and self.centers != "train":
            raise ValueError(
                f"Expected centers='train' on a stream with blur={self.stream.blur:g}, "
                f"whose old categories go on coming; got {self.centers!r}."
            )

    def replace(self, **changes: Any) -> "RunConfig":
        """Copy with other values; `seed` sets the seeds of model and data.

        A copy of an imported run's config that differs in more than `root` is that of
        a run to be trained here.
        """
        if set(changes) - {"root", "origin"}:
            changes = {"origin": None, **changes}
        if "seed" in changes:
            seed = changes.pop("seed")
            changes = {"seed_model": seed, "seed_data": seed, **changes}
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Values as JSON stores them."""
        values = {**dataclasses.asdict(self), "options": dict(self.options)}
        return json.loads(json.dumps(values, default=_plain))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Inverse of `to_dict`; what is missing has its default.

        Raises:
            ValueError: A field that this version does not know.
        """
        return build_config(cls, values)

    # ---- of its model

    @property
    def is_flow(self) -> bool:
        """Whether the model is HGAD's."""
        return self.model == FlowModel.name

    @property
    def shape(self) -> Any:
        """Config of the model."""
        return getattr(self, self.model)

    @property
    def training(self) -> TrainConfig | UniADConfig:
        """How each task is trained."""
        return self.train if self.is_flow else self.shape

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Fields that a name takes in another form, or that the model does not read."""
        others = tuple(name for name in MODELS if name != self.model)
        return (*ELSEWHERE, *others, *(() if self.is_flow else ("train",)))

    # ---- identity

    @property
    def folder(self) -> Path:
        """Folder of the images."""
        return Path(self.root) if self.root else DATA / "raw" / self.dataset

    @property
    def title(self) -> str:
        """Name of the dataset, or of the folder that is one."""
        is_folder = self.dataset in ("folder", "folder_without_masks")
        return self.folder.name if is_folder else self.dataset

    @property
    def all_options(self) -> dict[str, Any]:
        """Options by their declared types, completed by the strategy's defaults."""
        return completed(STRATEGIES[self.strategy], self.options)

    def identity(self) -> dict[str, Any]:
        """Facts that make a run this one, of which its name holds the digest.

        They are what differs from the defaults, numbers by the declared type; the
        strategy's options likewise; and the training images by their fingerprint,
        wherever they lie. A field or an option that is added later, with a default,
        changes no name.
        """
        facts = differing(self)
        for name in self.elsewhere:
            facts.pop(name, None)
        defaults = completed(STRATEGIES[self.strategy], {})
        options = self.all_options
        return {
            **facts,
            "identity": IDENTITY,
            "data": training_fingerprint(self.dataset, self.folder),
            "strategy": STRATEGIES.current(self.strategy),
            "options": {k: v for k, v in options.items() if v != defaults[k]},
        }

    @property
    def name(self) -> str:
        """Folder name: readable, then eight digits of the identity's digest."""
        return self.named(self.identity())

    def named(self, identity: Mapping[str, Any]) -> str:
        """Folder name for an identity at hand; to make one reads the images' folder."""
        strategy = STRATEGIES.current(self.strategy)
        method = strategy if self.is_flow else f"{self.model}-{strategy}"
        digest = digest_of(identity, 8)
        return f"{folder_name(self.title)}-{method}-s{self.seed_model}-{digest}"


def _plain(value: Any) -> Any:
    """NumPy's number as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(
        f"Expected numbers, texts and lists of them in a config; got {value!r}."
    )


def build_config(cls: type, values: Mapping[str, Any]) -> Any:
    """Dataclass of the values, those of its fields included.

    Raises:
        ValueError: A field that the class does not have.
    """
    hints = typing.get_type_hints(cls)
    unknown = [key for key in values if key not in hints]
    if unknown:
        raise ValueError(
            f"Expected fields of {cls.__name__}: {', '.join(hints)}; got "
            f"{', '.join(unknown)}. If a newer cl_flow wrote it, update this one."
        )
    arguments = {}
    for key, value in values.items():
        hint = hints[key]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            arguments[key] = build_config(hint, value)
        else:
            arguments[key] = typed(value, hint)
    return cls(**arguments)


def new_strategy(config: RunConfig) -> Strategy:
    """Strategy of a config, without any memory.

    Raises:
        TypeError, ValueError: An option that it does not take.
        ValueError: It speaks of a flow, and the model is another; it, or the model,
            needs tasks with boundaries, and the stream has none.
    """
    kind = STRATEGIES[config.strategy]
    if not (config.is_flow or kind.any_model):
        able = [name for name in STRATEGIES if STRATEGIES[name].any_model]
        raise ValueError(
            f"Expected a strategy for any model ({', '.join(sorted(able))}) with "
            f"model={config.model!r}; got {config.strategy!r}, which is for a flow."
        )
    if config.stream.blur:
        _refuse_boundaries(config)
    return kind(**config.all_options)


def _refuse_boundaries(config: RunConfig) -> None:
    """Refuse who needs boundaries, on a stream that has none."""
    for what, name, registry in (
        ("strategy", config.strategy, STRATEGIES),
        ("model", config.model, MODELS),
    ):
        if registry[name].needs_boundaries:
            able = [one for one in registry if not registry[one].needs_boundaries]
            raise ValueError(
                f"Expected a {what} that does without task boundaries "
                f"({', '.join(sorted(able))}) on a stream with "
                f"blur={config.stream.blur:g}; got {name!r}, which needs them."
            )


@checked
def load_samples(config: RunConfig) -> pd.DataFrame:
    """Samples of a config's dataset."""
    return DATASETS[config.dataset](config.folder)
