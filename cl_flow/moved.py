"""Old names of modules, importable for one release.

A warning names the new place.
"""

__all__ = ["MODULES", "RENAMED", "follow_moves"]

import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ROOMS = (
    "analysis.alignment analysis.centers analysis.detection analysis.embedding "
    "analysis.expansion analysis.ledger analysis.methods analysis.pictures "
    "analysis.recovery analysis.judgement"
)

# Module of before 0.2 -> where its names live now.
MODULES = {
    "analysis.attribution": "analysis.ledger.attribution analysis.judgement",
    "analysis.baselines": "analysis.methods.detectors",
    "analysis.continual": "analysis.conventions",
    "analysis.costs": "analysis.methods.costs",
    "analysis.density": "analysis.alignment.density",
    "analysis.embed": "analysis.embedding analysis.embedding.layouts",
    "analysis.geometry": "analysis.centers analysis.centers.say",
    "analysis.plots": _ROOMS,
    "analysis.plots.alignment": "analysis.alignment.plot",
    "analysis.plots.curves": "analysis.detection.plot",
    "analysis.plots.embedding": "analysis.embedding.plot",
    "analysis.plots.examples": "analysis.pictures.plot",
    "analysis.plots.expansion": "analysis.expansion.plot",
    "analysis.plots.geometry": "analysis.centers.plot",
    "analysis.plots.ledger": "analysis.ledger.plot",
    "analysis.plots.methods": "analysis.methods.plot",
    "analysis.plots.recovery": "analysis.recovery.plot",
    "analysis.plots.rows": "analysis.rows",
    "analysis.plots.transport": "analysis.ledger.plot_moves",
    "analysis.probes": f"{_ROOMS} analysis.contrasts analysis.scoring "
    "analysis.ledger.measure analysis.recovery.measure",
    "analysis.probes.alignment": "analysis.alignment.measure",
    "analysis.probes.approach": "analysis.alignment.conclude analysis.alignment.say",
    "analysis.probes.balance": "analysis.ledger.conclude analysis.ledger.say "
    "analysis.judgement",
    "analysis.probes.expansion": "analysis.expansion",
    "analysis.probes.illness": "analysis.ledger.illnesses",
    "analysis.probes.ledger": "analysis.ledger.measure",
    "analysis.probes.measure": "analysis.contrasts analysis.scoring",
    "analysis.probes.recovery": "analysis.recovery.measure",
    "analysis.probes.samplers": "analysis.alignment.samplers",
    "analysis.probes.savings": "analysis.recovery.conclude analysis.recovery.say",
    "analysis.probes.swap": "analysis.ledger.swaps",
    "analysis.probes.transplant": "analysis.ledger.transplants",
    "analysis.probes.transport": "analysis.ledger.moves",
    "analysis.study": "analysis.studies",
    "analysis.suite": "analysis.methods.suite",
    "analysis.tables": "analysis.experiments analysis.scoring analysis.rows "
    "analysis.detection analysis.detection.measure analysis.pictures",
    "cl_flow.adam": "cl_flow.model.kernels",
    "cl_flow.align.gated": "cl_flow.align.mixtures.gated",
    "cl_flow.align.gradient": "cl_flow.align.natural_gradient",
    "cl_flow.align.incremental": "cl_flow.align.mixtures "
    "cl_flow.align.mixtures.engine cl_flow.align.mixtures.chi_square "
    "cl_flow.align.statistics.joining",
    "cl_flow.align.merging": "cl_flow.align.mixtures.merging",
    "cl_flow.align.precision": "cl_flow.align.statistics.precision",
    "cl_flow.align.refit": "cl_flow.align.refits",
    "cl_flow.align.stats": "cl_flow.align.statistics.gaussian",
    "cl_flow.align.stepwise": "cl_flow.align.mixtures.stepwise",
    "cl_flow.coupling": "cl_flow.model.kernels",
    "cl_flow.datasets": "cl_flow.data.datasets",
    "cl_flow.datasets.btad": "cl_flow.data.datasets.btad",
    "cl_flow.datasets.canvas": "cl_flow.data.datasets.drawn.canvas",
    "cl_flow.datasets.categories": "cl_flow.data.datasets.drawn.categories",
    "cl_flow.datasets.check": "cl_flow.data.datasets.check",
    "cl_flow.datasets.defects": "cl_flow.data.datasets.drawn.defects",
    "cl_flow.datasets.drawings": "cl_flow.data.datasets.drawn.objects",
    "cl_flow.datasets.folder": "cl_flow.data.datasets.folder",
    "cl_flow.datasets.mvtec": "cl_flow.data.datasets.mvtec",
    "cl_flow.datasets.mvtec_3d": "cl_flow.data.datasets.mvtec_3d",
    "cl_flow.datasets.synthetic": "cl_flow.data.datasets.drawn.synthetic "
    "cl_flow.data.datasets.drawn.categories",
    "cl_flow.datasets.textures": "cl_flow.data.datasets.drawn.textures",
    "cl_flow.datasets.visa": "cl_flow.data.datasets.visa",
    "cl_flow.features": "cl_flow.data cl_flow.data.extraction",
    "cl_flow.fit": "cl_flow.runs",
    "cl_flow.flow": "cl_flow.model cl_flow.model.coupling cl_flow.devices",
    "cl_flow.images": "cl_flow.data.images",
    "cl_flow.latents": "cl_flow.scoring.latents",
    "cl_flow.losses": "cl_flow.model.losses",
    "cl_flow.mixture": "cl_flow.model.mixture",
    "cl_flow.objective": "cl_flow.model.kernels",
    "cl_flow.placement": "cl_flow.model.placement",
    "cl_flow.run": "cl_flow.runs",
    "cl_flow.score": "cl_flow.scoring",
    "cl_flow.strategies.anchor": "cl_flow.strategies.shared.old_model",
    "cl_flow.strategies.bag": "cl_flow.data.patches cl_flow.strategies.shared.balance",
    "cl_flow.strategies.dreams": "cl_flow.strategies.shared.inverted_samples",
    "cl_flow.strategies.evidence": "cl_flow.align.evidence",
    "cl_flow.strategies.gaussians": "cl_flow.align.laws cl_flow.align.law_fits",
    "cl_flow.stream": "cl_flow.data.streams",
    "cl_flow.threads": "cl_flow.devices",
    "cl_flow.train": "cl_flow.training cl_flow.data.patches",
    "cl_flow.views": "cl_flow.model.class_views",
}

# Old name -> the new one, wherever it was imported from.
RENAMED = {
    "Bag": "PatchPool",
    "Dreams": "InvertedSamples",
    "Gaussians": "ClassLaws",
    "Verdict": "VERDICTS",
    "alignment": "measure_alignment",
    "embedding": "measure_embedding",
    "expansion": "measure_expansion",
    "feature_gaussians": "feature_laws",
    "latent_gaussians": "latent_laws",
    "judge": "words_of",
    "learn": "learn_mixture",
    "ledger": "measure_ledger",
    "methods": "compare_methods",
    "pushed": "pool_laws",
    "recovery": "measure_recovery",
    "verdict": "verdicts",
}


class _Moved(ModuleType):
    """Module that is no more.

    Its names are taken from where they live now.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for place in MODULES[self.__name__].split():
            module = importlib.import_module(place)
            for candidate in (name, RENAMED.get(name, name)):
                if hasattr(module, candidate):
                    return getattr(module, candidate)
        raise AttributeError(f"No {name} in {self.__name__}, nor in what replaced it.")

    @property
    def _hider(self) -> Any:
        """The function of the module's name, which hid it: `cl_flow.fit`."""
        return getattr(self, self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._hider)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function that hid the module, as `cl_flow.fit(...)` did."""
        return self._hider(*args, **options)


class _Follower(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in MODULES)
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        places = " or ".join(_shown(MODULES[module.__name__]))
        warnings.warn(
            f"{module.__name__} has moved to {places}; the next release no longer "
            "finds it here.",
            DeprecationWarning,
            stacklevel=2,
        )


def _shown(places: str) -> Iterator[str]:
    """Places to name in a warning; for all rooms together, their package."""
    yield from ["the rooms of analysis"] if _ROOMS in places else places.split()


def follow_moves() -> None:
    """Let imports of old modules find the new ones; once.

    They are looked for first: a checkout may still hold the old folders, empty but for
    compiled files.
    """
    if not any(isinstance(finder, _Follower) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Follower())
