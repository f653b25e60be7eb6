"""Gradient mixtures: covariances learned beside the flow, or components one at a time.

Earlier classes are rehearsed by their laws.
"""

__all__ = ["GradientMixture"]

from cl_flow.calls import refuse_unknown
from cl_flow.data.streams import Task
from cl_flow.model.annealing import annealed_width, neighbours_on_grid
from cl_flow.model.covariances import COVARIANCES
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES
from cl_flow.strategies.feature_gaussian import FeatureGaussian
from cl_flow.strategies.shared.law_draws import PLACED

OBJECTIVES = ("logsumexp", "annealed_max")
UNIT = "unit"


@STRATEGIES("gradient_mixture")
class GradientMixture(FeatureGaussian):
    """`feature_gaussian` with another mixture, all of it learned by gradient.

    Means, weights and covariances of the new classes learn from images, those of the
    old classes from draws of their laws. What the flow could do as well, one affine map
    for all classes, is left to the two of them; a covariance of its own is what a class
    cannot have of the flow. It is a part of the model, and not counted among the bytes
    kept.

    The objective `"annealed_max"` takes the place of HGAD's loss within a class while
    training; scores have the density in every case.

    References:
        Gradient-Based Training of Gaussian Mixture Models for High-Dimensional
        Streaming Data (Gepperth & Pfülb, 2021)
        https://arxiv.org/abs/1912.09379

    Args:
        objective: Loss within a class: `"logsumexp"`, HGAD's own; or `"annealed_max"`,
            the best component with its neighbours, who become fewer.
        covariance: Of each class, shared by its components: `"unit"`, `"diagonal"`,
            `"low_rank"` or `"full"`.
        rank: Directions in which a covariance of the kind `"low_rank"` is not 1.
        anneal: Steps of each task, from the first with the losses within a class on,
            until a component has no neighbour left.
        components: Gaussians per class and level of the features' law.
        position: What depends on where a patch lies: `"pooled"`, nothing; `"weights"`,
            `"means"` or `"full"` (see `LawOptions`).
        places: Places of a grid that are told apart, at most.
        pool: Patches drawn of each class and level before a task, from which its
            batches are drawn.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    GRID = (
        {**PLACED, "covariance": "unit", "objective": "annealed_max"},
        {**PLACED, "covariance": "low_rank"},
        {**PLACED, "covariance": "full"},
    )

    def __init__(
        self,
        *,
        objective: str = "logsumexp",
        covariance: str = "full",
        rank: int = 4,
        anneal: int = 500,
        components: int = 1,
        position: str = "pooled",
        places: int = 256,
        pool: int = 4096,
        ratio: float | None = 1.0,
    ) -> None:
        super().__init__(
            components=components,
            position=position,
            places=places,
            pool=pool,
            ratio=ratio,
        )
        refuse_unknown("objective", objective, OBJECTIVES)
        refuse_unknown("covariance", covariance, (UNIT, *COVARIANCES))
        if rank < 1 or anneal < 1:
            raise ValueError(
                f"Expected rank ≥ 1 and anneal ≥ 1; got {rank} and {anneal}."
            )
        self.capturable = objective == "logsumexp"
        self.objective = objective
        self.covariance = covariance
        self.rank = rank
        self.anneal = anneal
        self._steps = 0
        self._begun: int | None = None

    def grow(self, model: FlowModel, task: Task) -> FlowModel:
        model = super().grow(model, task)
        self._begun = None
        for level in model.levels:
            mixture = level.mixture
            if self.covariance != UNIT and mixture.covariance is None:
                level.mixture = mixture.with_covariance(self.covariance, rank=self.rank)
        return model

    def within(self, model: FlowModel) -> None:
        self._begun = self._steps

    def watch(self, step: int, model: FlowModel) -> None:
        self._steps = step
        annealed = 0 if self._begun is None else step - self._begun
        if self.objective == "logsumexp" or annealed > self.anneal:
            return
        for level in model.levels:
            m = level.mixture.n_components
            width = annealed_width(m, annealed / self.anneal)
            level.mixture.neighbours = neighbours_on_grid(m, width).to(level.codes)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        super().consolidate(model, task)
        for level in model.levels:
            level.mixture.neighbours = None
