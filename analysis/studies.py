"""The grid of runs behind the notebooks.

A preset decides dataset, features, model and training of all of them, and how they are
scored.
"""

__all__ = [
    "ORDER_FILE",
    "PRESETS",
    "PUBLISHED",
    "Preset",
    "Study",
    "mvtec",
    "photographs",
    "slides",
    "slides_lite",
    "smoke",
    "study",
    "synthetic",
]

import dataclasses
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.pages import styled
from analysis.scoring import Scoring
from analysis.style import save_figure
from cl_flow.calls import checked
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.streams import StreamConfig, read_order, task_order
from cl_flow.model.flow import FlowConfig
from cl_flow.model.losses import LossConfig
from cl_flow.model.reconstruction import IUFConfig, UniADConfig
from cl_flow.paths import DATA
from cl_flow.registry import Registry
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES
from cl_flow.training.config import TrainConfig

PRESETS: Registry = Registry("preset")
ORDER_FILE = "order.txt"  # in a folder of images: a line of categories for each task

LITE0 = FeatureConfig(
    backbone="tf_efficientnet_lite0.in1k",
    image_size=128,
    scales=(1,),
    out_indices=(2, 3),
)
"""EfficientNet-Lite0, whose ImageNet weights come as a package, at two stages."""

PUBLISHED = Scoring(normalise="set", size=256)
"""HGAD's own scores: normalised by the test set, on maps of 256 pixels."""

# The schedule of the public continuation of HGAD: 5 meta-epochs of 2 passes, and over
# the first 2 a warm-up without the losses within a class.
META_EPOCHS = TrainConfig(epochs=10, staircase=5, warmup=0.4, inter_only=0.4)


class Preset(NamedTuple):
    """Base config of a study, and how its runs are scored."""

    base: RunConfig
    scoring: Scoring = Scoring()


# UniAD and IUF for two cores: two layers each way, tokens of 16 pixels as published,
# and no dropout, whose draws take as long as the rest of a step.
SMALL: dict[str, Any] = {
    "side": 8,
    "width": 96,
    "n_heads": 4,
    "hidden": 192,
    "n_encoder": 2,
    "n_decoder": 2,
    "dropout": 0.0,
    "epochs": 5,
    "batch_images": 8,
    "lr": 2e-3,
}
# For photographs, of half the published width.
HALF = {
    **SMALL,
    "side": 16,
    "width": 128,
    "n_heads": 8,
    "hidden": 256,
    "epochs": 60,
    "batch_images": 16,
    "lr": 1e-3,
}


@PRESETS
def synthetic() -> Preset:
    """The drawn dataset under EfficientNet-Lite0: minutes on two cores.

    Tuned for the joint model alone, by its likelihood as much as by its product.
    """
    base = RunConfig(
        dataset="synthetic",
        features=LITE0,
        whiten=32,
        flow=FlowConfig(n_blocks=6, position_dim=32, hidden=256),
        train=TrainConfig(
            epochs=40,
            batch_images=16,
            batch_patches=32,
            lr=1e-2,
            losses=LossConfig(mutual_information=1.0),
        ),
        uniad=UniADConfig(**SMALL),
        iuf=IUFConfig(**SMALL, queue=256),
    )
    return Preset(base)


@PRESETS
def smoke() -> Preset:
    """The same path in seconds, on a handful of drawings.

    Its numbers mean nothing.
    """
    base = synthetic().base
    train = dataclasses.replace(base.train, epochs=4)
    flow = dataclasses.replace(base.flow, n_blocks=2)
    short = {"train": train, "flow": flow}
    for name in ("uniad", "iuf"):
        short[name] = dataclasses.replace(getattr(base, name), epochs=4)
    return Preset(base.replace(dataset="smoke", **short))


@PRESETS
def photographs() -> Preset:
    """Any folder of photographs under EfficientNet-Lite0: an hour on two cores.

    Size, stages and training were chosen for the joint model of real photographs.
    """
    base = synthetic().base
    return Preset(
        base.replace(
            dataset="folder",
            features=dataclasses.replace(LITE0, image_size=256),
            whiten=48,
            train=dataclasses.replace(
                base.train, epochs=60, batch_images=8, batch_patches=64
            ),
            uniad=UniADConfig(**HALF),
            iuf=IUFConfig(**HALF, queue=256),
        )
    )


@PRESETS
def mvtec() -> Preset:
    """MVTec AD as published.

    EfficientNet-B6 on a three-scale pyramid of 1024 pixels, HGAD's size and schedule.
    """
    return Preset(RunConfig(dataset="mvtec"))


@PRESETS
def slides() -> Preset:
    """MVTec AD by the protocol of the research meeting's slides.

    HGAD at its published size; each task is trained anew for 5 meta-epochs of 2 passes,
    and scores are HGAD's own.

    References:
        Continual learning for HGAD (pull request, commit a52b51c, 2025)
        https://github.com/xcyao00/HGAD/pull/5
    """
    return Preset(RunConfig(dataset="mvtec", train=META_EPOCHS), PUBLISHED)


@PRESETS("slides-lite")
def slides_lite() -> Preset:
    """The slides' protocol for whoever has no GPU: on Lite0, and on the drawings.

    Same schedule, batches, losses and scores, the same depth; one stage at two scales.
    """
    features = dataclasses.replace(
        LITE0, image_size=256, scales=(1, 2), out_indices=(3,)
    )
    base = RunConfig(dataset="synthetic", features=features, train=META_EPOCHS)
    return Preset(base, PUBLISHED)


@dataclass(frozen=True)
class Study:
    """A preset's base config, and the seeds it is run with.

    Args:
        name: The preset, or the name of the folder it was given.
        base: Config of the first seed's `finetune`; every run of the study differs from
            it in strategy and seed.
        seeds: Seeds of model and data.
        scored: How its preset scores; `scoring` changes it.

    Example:
        >>> plan = study("synthetic", seeds=2)
        >>> plan.config("ewc", seed=1, options={"strength": 10.0}).strategy
        'ewc'
    """

    name: str
    base: RunConfig
    seeds: tuple[int, ...]
    scored: Scoring = Scoring()

    def config(
        self, strategy: str = "finetune", *, seed: int = 0, **changes: Any
    ) -> RunConfig:
        """The config of one run."""
        return self.base.replace(strategy=strategy, seed=seed, **changes)

    def fit(
        self, *strategies: str, engine: str = "processes", **changes: Any
    ) -> list[Run]:
        """The runs of these strategies, every seed, trained where they are missing.

        Args:
            *strategies: Their names.
            engine: As of `fit_all`; `"ray"` takes the cluster in RAY_ADDRESS.
            **changes: Of the config.
        """
        configs = [
            self.config(name, seed=seed, **changes)
            for name in strategies
            for seed in self.seeds
        ]
        return fit_all(configs, engine=engine)

    def fit_grid(
        self, *strategies: str, engine: str = "processes", **changes: Any
    ) -> list[Run]:
        """Fit these strategies at every strength of their grid, every seed.

        Args:
            *strategies: Their names.
            engine: As of `fit_all`.
            **changes: Of the config.
        """
        options = [
            (name, dict(values))
            for name in strategies
            for values in STRATEGIES[name].GRID
        ]
        configs = [
            self.config(name, seed=seed, options=o, **changes)
            for name, o in options
            for seed in self.seeds
        ]
        return fit_all(configs, engine=engine)

    def trained(self, *strategies: str, **changes: Any) -> list[Run]:
        """Runs of these strategies that are there and complete.

        Every seed; nothing is trained.
        """
        configs = [
            self.config(name, seed=seed, **changes)
            for name in strategies
            for seed in self.seeds
        ]
        found = [Run.find(config) for config in configs]
        return [run for run in found if run is not None and run.is_complete]

    def scoring(self, **changes: Any) -> Scoring:
        """How the preset scores, with other values.

        Where it normalises by the test set there is nothing to calibrate, and
        `calibrate_on` falls away.
        """
        if self.scored.normalise == "set":
            changes.pop("calibrate_on", None)
        return dataclasses.replace(self.scored, **changes)

    def samples(self) -> pd.DataFrame:
        """The samples of the dataset, drawn or read."""
        return load_samples(self.base)

    @property
    def tasks(self) -> list[tuple[str, ...]]:
        """The categories of each task."""
        return task_order(self.samples()["category"], self.base.stream)

    def expect_boundaries(self, function: Callable) -> None:
        """Refuse a stream without boundaries, before anything is trained on it.

        Args:
            function: Who asks for tasks that were learned and left.

        Raises:
            ValueError: The stream has a blur.
        """
        blur = self.base.stream.blur
        if blur:
            raise ValueError(
                f"Expected a study of tasks with boundaries for {function.__name__}, "
                f"which trains strategies that need them; got blur={blur:g}."
            )

    def save(
        self, figure: Figure, name: str, *, notebook: str, runs: Sequence[Run] = ()
    ) -> list[Path]:
        """Keep a figure as PDF, SVG and PNG.

        In the preset's folder of figures, with what it was drawn from.
        """
        facts = {
            "notebook": notebook,
            "preset": self.name,
            "runs": [run.name for run in runs],
        }
        return save_figure(figure, name, DATA / "figures" / self.name, facts=facts)

    def _repr_html_(self) -> str:
        categories = [", ".join(names) for names in self.tasks]
        tasks = pd.DataFrame({"task": range(len(categories)), "categories": categories})
        seeds = html.escape(", ".join(map(str, self.seeds)))
        table = styled(tasks).to_html()
        return f"<p><b>{html.escape(self.name)}</b>, seeds {seeds}</p>{table}"


@checked
def study(
    preset: str | Path,
    *,
    root: str | Path | None = None,
    seeds: int | Sequence[int] = 1,
    stream: StreamConfig | None = None,
    masks: bool = True,
) -> Study:
    """Study of a preset, on its own images or on a folder of one's own.

    Args:
        preset: A name in `PRESETS`; or the path of a folder in the MVTec layout, which
            is `root` under the preset `photographs`.
        root: Folder of images to take instead of the preset's.
        seeds: How many, or which.
        stream: Which categories arrive when; by default what the folder's `order.txt`
            says, a line of categories for each task, and else three at a time in
            alphabetical order, or one where there are no more than three.
        masks: Whether every defect of `root` must have a mask; without, metrics of
            pixels are NaN.

    Raises:
        KeyError: Neither a preset nor a folder.
        FileNotFoundError: There is no folder `root`.
        ValueError: No seed; the preset needs a folder, and there is none; or the
            folder's categories make no two tasks.

    Example:
        >>> study("slides-lite", seeds=3).base.train.staircase
        5
    """
    seeds = _seeds(seeds)
    name = str(preset)
    if not masks and name in PRESETS and not root:
        raise ValueError(
            f"Expected a folder, which may lack masks; got the preset {name!r}, whose "
            "images have them."
        )
    if name not in PRESETS:
        root = _only_folder(name, root)
        name = "photographs"
    base, scoring = PRESETS[name]()
    if root:
        folder = _folder(root)
        dataset = "folder" if masks else "folder_without_masks"
        base = base.replace(dataset=dataset, root=str(folder))
        categories = load_samples(base)["category"].unique()
        base = base.replace(stream=stream or _order(folder, len(categories)))
        _refuse_one_task(task_order(categories, base.stream), folder)
        name = folder.name if name == "photographs" else f"{name}-{folder.name}"
    elif base.dataset == "folder" and base.root is None:
        raise ValueError(
            f"Expected a folder of images for the preset {name!r}; got none: "
            f"study({name!r}, root=…)."
        )
    elif stream is not None:
        base = base.replace(stream=stream)
    return Study(name, base, seeds, scoring)


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Which seeds: the first few, or those named, each once."""
    numbers = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ValueError(
            "Expected how many seeds, at least one, or whole numbers from 0, each "
            f"once; got {seeds!r}."
        )
    return numbers


def _only_folder(name: str, root: str | Path | None) -> str:
    """Folder that stands where a preset may."""
    if not Path(name).expanduser().is_dir():
        raise KeyError(
            f"Unknown preset {name!r}; known: {', '.join(PRESETS)}, or the path of a "
            "folder of images."
        )
    if root:
        raise ValueError(
            f"Expected a preset with root={str(root)!r}; got another folder, {name!r}."
        )
    return name


def _folder(root: str | Path) -> Path:
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a folder of images; got {folder}.")
    return folder


def _order(folder: Path, n_categories: int) -> StreamConfig:
    """Stream of a folder: as it says, or three categories at a time."""
    path = folder / ORDER_FILE
    if path.is_file():
        return read_order(path)
    return StreamConfig(split=1) if n_categories <= 3 else StreamConfig()


def _refuse_one_task(tasks: Sequence[tuple[str, ...]], folder: Path) -> None:
    if len(tasks) < 2:
        raise ValueError(
            f"Expected a stream of two tasks or more; got one, {tasks[0]}: "
            "study(…, stream=StreamConfig(split=1)), or a line for each task in "
            f"{folder / ORDER_FILE}. A single category has nothing to forget."
        )
