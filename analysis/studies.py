"""The grid of runs behind the notebooks.

One preset decides dataset, features, model and training of all of them.
"""

__all__ = ["PRESETS", "Study", "mvtec", "smoke", "study", "synthetic"]

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.style import save_figure
from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.streams import task_order
from cl_flow.model.flow import FlowConfig
from cl_flow.paths import DATA
from cl_flow.registry import Registry
from cl_flow.runs.config import RunConfig, load_samples
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES
from cl_flow.training.config import TrainConfig

PRESETS: Registry = Registry("preset")

BUNDLED = FeatureConfig(
    backbone="test_byobnet",
    weights="backbone/test_byobnet.safetensors",
    image_size=128,
    scales=(1,),
    out_indices=(2, 3),
)


@PRESETS
def synthetic() -> RunConfig:
    """The drawn dataset under the bundled backbone: minutes on two cores.

    Tuned for the joint model alone: of what was tried, a wider subnet and smaller
    batches at a higher rate helped its likelihood, and HGAD's own weight of the class
    term its entropy.
    """
    return RunConfig(
        dataset="synthetic",
        features=BUNDLED,
        whiten=32,
        flow=FlowConfig(n_blocks=6, position_dim=32, hidden=256),
        train=TrainConfig(epochs=40, batch_images=16, batch_patches=32, lr=1e-2),
    )


@PRESETS
def smoke() -> RunConfig:
    """The same path in seconds, on a handful of drawings.

    Its numbers mean nothing.
    """
    base = synthetic()
    train = dataclasses.replace(base.train, epochs=4)
    return base.replace(
        dataset="smoke", train=train, flow=dataclasses.replace(base.flow, n_blocks=2)
    )


@PRESETS
def mvtec() -> RunConfig:
    """MVTec AD as published.

    EfficientNet-B6 on a three-scale pyramid of 1024 pixels, HGAD's size and schedule.
    """
    return RunConfig(dataset="mvtec")


@dataclass(frozen=True)
class Study:
    """A preset's base config, and the seeds it is run with.

    Args:
        name: The preset, or the name of the folder it was given.
        base: Config of the first seed's `finetune`; every run of the study differs from
            it in strategy and seed.
        seeds: Seeds of model and data.
    """

    name: str
    base: RunConfig
    seeds: tuple[int, ...]

    def config(
        self, strategy: str = "finetune", *, seed: int = 0, **changes: Any
    ) -> RunConfig:
        """The config of one run."""
        return self.base.replace(strategy=strategy, seed=seed, **changes)

    def fit(self, *strategies: str, **changes: Any) -> list[Run]:
        """The runs of these strategies, every seed, trained where they are missing."""
        return fit_all(
            [
                self.config(name, seed=seed, **changes)
                for name in strategies
                for seed in self.seeds
            ]
        )

    def fit_grid(self, *strategies: str, **changes: Any) -> list[Run]:
        """Fit these strategies at every strength of their grid.

        Every seed.
        """
        options = [
            (name, dict(values))
            for name in strategies
            for values in STRATEGIES[name].GRID
        ]
        return fit_all(
            [
                self.config(name, seed=seed, options=o, **changes)
                for name, o in options
                for seed in self.seeds
            ]
        )

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

    def samples(self) -> pd.DataFrame:
        """The samples of the dataset, drawn or read."""
        return load_samples(self.base)

    @property
    def tasks(self) -> list[tuple[str, ...]]:
        """The categories of each task."""
        return task_order(self.samples()["category"], self.base.stream)

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
        tasks = pd.DataFrame(
            {
                "task": range(1, len(self.tasks) + 1),
                "categories": map(", ".join, self.tasks),
            }
        )
        seeds = ", ".join(map(str, self.seeds))
        table = tasks.to_html(index=False)
        return f"<p><b>{self.name}</b>, seeds {seeds}</p>{table}"


def study(preset: str | Path, *, seeds: int | Sequence[int] = 1) -> Study:
    """Study of a preset, or of a folder of one's own images.

    In the MVTec layout.

    Args:
        preset: A name in `PRESETS`, or a path: the folder is then read by the `folder`
            loader and run at the size of `synthetic`.
        seeds: How many, or which.

    Raises:
        KeyError: Neither a preset nor a folder.
    """
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not seeds:
        raise ValueError("Expected at least one seed; got none.")
    if str(preset) not in PRESETS and Path(preset).expanduser().is_dir():
        root = Path(preset).expanduser().resolve()
        return Study(
            root.name, synthetic().replace(dataset="folder", root=str(root)), seeds
        )
    if str(preset) not in PRESETS:
        raise KeyError(
            f"Unknown preset {str(preset)!r}; known: {', '.join(PRESETS)}, or the path "
            "of a folder of images."
        )
    return Study(str(preset), PRESETS[str(preset)](), seeds)
