"""Realign: fine-tuning, with old centers moved after the flow.

By an aligner, after each task or within it.
"""

__all__ = ["Realign"]

from collections.abc import Mapping

import torch

from cl_flow.align import ALIGNERS, HEADS, KEPT, Evidence
from cl_flow.align.evidence import carried, gathered, realigned
from cl_flow.align.law_fits import LawOptions, feature_laws, latent_laws
from cl_flow.align.laws import ClassLaws
from cl_flow.data.features import Features
from cl_flow.data.streams import Task
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.old_model import frozen
from cl_flow.strategies.shared.seeds import task_generator


@STRATEGIES("realign")
class Realign(Strategy):
    """Move old classes along with the flow.

    They stay what they were before the task, as far as the aligner can tell.

    Args:
        aligner: Name in `cl_flow.align.ALIGNERS`; not `refit`, which would take old
            images.
        head: `"means"` moves centers only, `"full"` gives every class a covariance.
        every: Also after every so many steps within a task, so that the losses meet
            centers that are up to date; None is at its end alone.
        components: Gaussians per class and level, for an aligner that keeps features.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        n_draws: Patches drawn per class and level, for an aligner that draws.
    """

    GRID = ({"aligner": "sdc"}, {"aligner": "transport"}, {"aligner": "pushforward"})

    def __init__(
        self,
        *,
        aligner: str = "pushforward",
        head: str = "full",
        every: int | None = None,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        n_draws: int = 2048,
    ) -> None:
        super().__init__()
        if (
            KEPT.get(aligner) == "images"
            or head not in HEADS
            or (every is not None and every < 1)
        ):
            raise ValueError(
                "Expected an aligner that needs no image, a head of "
                f"{', '.join(HEADS)} and every ≥ 1; got "
                f"{aligner!r}, {head!r} and {every}."
            )
        ALIGNERS[aligner]
        self.aligner = aligner
        self.head = head
        self.every = every
        # Realigning gives the model frames, other tensors each time.
        self.capturable = every is None
        self.options = LawOptions(components, position, places)
        self.n_draws = n_draws
        self._old: FlowModel | None = None
        self._task: Task | None = None

    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        self._old = frozen(model) if model.n_classes else None
        return super().grow(model, task)

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        self._task = task
        return super().prepare(model, task, past)

    def watch(self, step: int, model: FlowModel) -> None:
        if self.every and step and step % self.every == 0 and self._old is not None:
            self._realign_(model, self._task)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        kept = self._kept(model)
        if self._old is not None:
            evidence = self._realign_(model, task)
            if KEPT.get(self.aligner) == "latents":
                kept = carried(evidence, self.options.of_latents())
        new = self._laws(model, task)
        if new is not None:
            self.memory = (new if kept is None else kept.followed_by(new)).tensors()

    @torch.no_grad()
    def _realign_(self, model: FlowModel, task: Task) -> list[Evidence]:
        kept = self._kept(model)
        laws = {} if kept is None else {KEPT[self.aligner]: kept}
        seed = 1000 * model.seed + 10 * task.index
        evidence = gathered(
            self._old, model, task.features, n_draws=self.n_draws, seed=seed, **laws
        )
        old, new = (
            [level.mixture for level in which.levels] for which in (self._old, model)
        )
        for level, mixture in zip(
            model.levels, realigned(old, new, evidence, self.aligner, head=self.head)
        ):
            level.mixture.take_(mixture)
        return evidence

    def _kept(self, model: FlowModel) -> ClassLaws | None:
        """Laws kept of the old classes."""
        return ClassLaws.stored(self.memory, model.levels[0].codes.device)

    def _laws(self, model: FlowModel, task: Task) -> ClassLaws | None:
        """Laws to keep of the classes just learned."""
        kind = KEPT.get(self.aligner)
        names = task.categories
        generator = task_generator(model, task)
        if kind == "latents":
            options = self.options.of_latents()
            return latent_laws(
                model, task.features, names, options, generator=generator
            )
        if kind != "features":
            return None
        return feature_laws(
            task.features,
            names,
            self.options,
            device=model.levels[0].codes.device,
            generator=generator,
        )
