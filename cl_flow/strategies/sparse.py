"""Deep sparse training: every task finds a sub-network of its own.

It drops weights and grows others while it learns; all tasks draw from one set.
"""

__all__ = ["Masked", "Sparse"]

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.utils import parametrize

from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.data.streams import Task
from cl_flow.model.bits import packed
from cl_flow.model.class_views import used_weights, views
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.lwf import LwF
from cl_flow.strategies.packnet import small_parameters, weights
from cl_flow.strategies.shared.masks import densities, drawn, dropped, highest
from cl_flow.strategies.shared.seeds import task_seed
from cl_flow.training.step import Rewiring

OVERLAPS = ("free", "frozen", "disjoint")
GROWTHS = ("rigl", "set")
BIASES = ("own", "shared")
LAST_CHANGE = 0.75  # of a task's steps; the rest trains the mask as it is


class Masked(nn.Module):
    """Weight of which a task uses the active part, and trains what is not held.

    What it neither uses nor trains keeps its bits, whatever the optimizer does.

    Args:
        weight: As the task finds it.
        active: Mask of what the task uses; changed in place.
        owned: Mask of what earlier tasks use.
        hold: Whether what they use may not change.
    """

    before: Tensor
    active: Tensor
    owned: Tensor
    held: Tensor

    def __init__(
        self, weight: Tensor, active: Tensor, owned: Tensor, *, hold: bool
    ) -> None:
        super().__init__()
        self.register_buffer("before", weight.detach().clone())
        self.register_buffer("active", active)
        self.register_buffer("owned", owned)
        self.register_buffer("held", owned & hold)

    def forward(self, weight: Tensor) -> Tensor:
        return _Use.apply(weight, self)

    def used(self, weight: Tensor) -> Tensor:
        """What the task computes with."""
        return torch.where(self.active, self.left(weight), 0.0)

    def left(self, weight: Tensor) -> Tensor:
        """What the task leaves to the later ones."""
        return torch.where(self.active & ~self.held, weight, self.before)


class _Use(torch.autograd.Function):
    """The used part of a weight; the gradient is that of all of it.

    RigL grows by the gradient of weights that are not in use.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, part: Masked) -> Tensor:
        return part.used(weight)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> tuple[Tensor, None]:
        return grads[0], None


@STRATEGIES("sparse")
class Sparse(Strategy):
    r"""Deep sparse training (`dst`): task t computes with $W \odot m_t$.

    All tasks share the weights W; m_t is a random mask of Erdős and Rényi's densities
    at first. While the task is learned, some weights nearest to 0 are dropped now and
    then, and as many others grow in their place: RigL's by the largest gradient and
    fewer from time to time, by a cosine; SET's at random, a share of each sign. What is
    dropped is again what it was before the task. What grows begins at 0, without
    moments, or at what an earlier task has there; the step that changes the mask is
    none of Adam's. A class is scored with its own task's mask
    (`cl_flow.model.class_views`), which is kept as bits.

    Ours, as the research meeting's own attempt is not published: the masks changed a
    number of times in a task, whatever its steps; `overlap`; the orthogonal loss.

    References:
        Scalable training of artificial neural networks with adaptive sparse
        connectivity (Mocanu et al., 2018)
        https://arxiv.org/abs/1707.04780
        Rigging the Lottery: Making All Tickets Winners (Evci et al., 2020)
        https://arxiv.org/abs/1911.11134
        SpaceNet: Make Free Space for Continual Learning (Sokar et al., 2021)
        https://arxiv.org/abs/2007.07617

    Args:
        density: Share of the weights that a task uses; None is an even one.
        overlap: What a task may do with the weights of earlier ones: train them
            (`"free"`), use them as they are (`"frozen"`), or neither (`"disjoint"`).
        growth: `"rigl"` or `"set"`.
        biases: Whether every task has biases and global scales of its `"own"`, or all
            have the last ones (`"shared"`).
        drop: Share of a task's weights that the first change drops.
        changes: Of the mask within a task, in the first three quarters of its steps;
            a quarter of the steps at most.
        distillation: Weight of `lwf`'s term, on posteriors, with the sub-network of the
            task before as the teacher.
        orthogonal: Weight of the mean over earlier tasks of $\langle |W \odot m_t|,
            |W' \odot m_i| \rangle / (\|W \odot m_t\| \|W' \odot m_i\|)$, W' being the
            weights before task t: 0 where no weight is in both, 1 at most.

    Raises:
        ValueError: A share beyond its bounds; or, as the stream is known, disjoint
            sub-networks that together are more than the flow.
    """

    capturable = True
    open_ended = False
    GRID = ({}, {"growth": "set"}, {"overlap": "frozen"}, {"overlap": "disjoint"})

    def __init__(
        self,
        *,
        density: float | None = None,
        overlap: str = "free",
        growth: str = "rigl",
        biases: str = "own",
        drop: float = 0.3,
        changes: int = 20,
        distillation: float = 0.0,
        orthogonal: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_unknown("overlap of sub-networks", overlap, OVERLAPS)
        refuse_unknown("growth of a mask", growth, GROWTHS)
        refuse_unknown("place of biases", biases, BIASES)
        if not (density is None or 0 < density <= 1) or not 0 <= drop <= 1:
            raise ValueError(
                "Expected a density above 0, 1 at most, and a drop between 0 and 1; "
                f"got {density} and {drop}."
            )
        if min(changes, distillation, orthogonal) < 0:
            raise ValueError(
                "Expected changes, distillation and orthogonal of 0 or more; got "
                f"{changes}, {distillation} and {orthogonal}."
            )
        self.density = density
        self.overlap = overlap
        self.growth = growth
        self.biases = biases
        self.drop = drop
        self.changes = changes
        self.distillation = distillation
        self.orthogonal = orthogonal
        self._share = 1.0 if density is None else density
        self._most = 1.0
        self._parts: list[tuple[nn.Parameter, Masked]] = []
        self._generator = torch.Generator()
        self._teacher: LwF | None = None
        self._earlier: list[Tensor] = []

    def arrange(self, stream: list[Task]) -> list[Task]:
        even = 1 / len(stream)
        if self.density is None:
            self._share = even
        if self.overlap == "disjoint":
            self._most = even
            if self._share > even + 1e-9:
                raise ValueError(
                    f"Expected a density of 1/{len(stream)} at most, as as many tasks "
                    f"share no weight (density=None is that); got {self._share}."
                )
        return stream

    # ---- a task begins

    def prepare(
        self, model: FlowModel, task: Task, past: Mapping[int, Task]
    ) -> Features:
        is_taught = task.index > 0 and self.distillation > 0
        self._teacher = self._begun_teacher(model, task) if is_taught else None
        is_apart = task.index > 0 and self.orthogonal > 0
        self._earlier = _mean_direction(model, task.index) if is_apart else []
        self.penalty = self._terms if is_taught or is_apart else None
        self._generator.manual_seed(task_seed(model, task))
        self._mask_(model, task.index)
        return task.features

    def _mask_(self, model: FlowModel, index: int) -> None:
        """Give every weight matrix the first mask of a task."""
        known = [used_weights(model, earlier) for earlier in range(index)]
        places = list(weights(model))
        shapes = [tuple(getattr(module, name).shape) for _, module, name in places]
        shares = densities(shapes, self._share, most=self._most)
        self._parts = []
        for (name, module, attribute), share in zip(places, shares):
            weight = getattr(module, attribute)
            owned = torch.zeros_like(weight, dtype=torch.bool)
            for used in known:
                owned |= used[name]
            allowed = ~owned if self.overlap == "disjoint" else torch.ones_like(owned)
            # Of a share such as .3 · 10 that falls short of a whole number.
            n = int(share * weight.numel() + 1e-6)
            active = drawn(allowed, n, self._generator)
            part = Masked(weight, active, owned, hold=self.overlap != "free")
            parametrize.register_parametrization(module, attribute, part)
            self._parts.append((weight, part))

    def _begun_teacher(self, model: FlowModel, task: Task) -> LwF:
        teacher = LwF(strength=self.distillation)
        teacher.prepare(views(model)[task.index - 1][0], task, {})
        return teacher

    # ---- what it adds to the loss

    def _terms(
        self, model: FlowModel, batch: Batch, latents: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        total = latents[0][0].new_zeros(())
        if self._teacher is not None:
            total = total + self._teacher.penalty(model, batch, latents)
        if self._earlier:
            total = total + self.orthogonal * self._likeness()
        return total

    def _likeness(self) -> Tensor:
        """Mean cosine of the magnitudes in use with those of the earlier tasks."""
        used = [part(weight).abs() for weight, part in self._parts]
        pairs = zip(used, self._earlier)
        inner = torch.stack([(one * other).sum() for one, other in pairs]).sum()
        return inner / _length(used)

    # ---- the mask changes

    def rewire(self, step: int, n_steps: int) -> Rewiring | None:
        end = LAST_CHANGE * n_steps
        if not 0 < step < end:
            return None
        n_parts = min(self.changes, n_steps // 4) + 1
        is_due = int(step * n_parts / end) > int((step - 1) * n_parts / end)
        if not is_due or all(part.active.all() for _, part in self._parts):
            return None
        share = self.drop
        if self.growth == "rigl":
            share *= (1 + math.cos(math.pi * step / end)) / 2
        return partial(self._change_, share)

    @torch.no_grad()
    def _change_(self, share: float) -> dict[nn.Parameter, Tensor]:
        """Drop and grow in every matrix, and tell what is new there."""
        return {
            weight: self._drop_and_grow_(weight, part, share)
            for weight, part in self._parts
        }

    def _drop_and_grow_(
        self, weight: nn.Parameter, part: Masked, share: float
    ) -> Tensor:
        active, allowed = part.active, ~part.held
        n_active, n_unused = int(active.sum()), int((allowed & ~active).sum())
        share = min(share, n_unused / max(n_active, 1))
        by_sign = self.growth == "set"
        lost = dropped(part.used(weight), active, share, by_sign=by_sign)
        kept = active & ~lost
        # What was just dropped may grow again, and then has not changed.
        if self.growth == "rigl":
            gain = torch.zeros_like(weight) if weight.grad is None else weight.grad
            grown = highest(gain.abs(), allowed & ~kept, int(lost.sum()))
        else:
            grown = drawn(allowed & ~kept, int(lost.sum()), self._generator)
        fresh = grown & ~active
        weight.copy_(torch.where(fresh, part.before * part.owned, weight))
        active.copy_(kept | grown)
        return fresh

    # ---- a task ends

    @torch.no_grad()
    def consolidate(self, model: FlowModel, task: Task) -> None:
        for (name, module, attribute), (weight, part) in zip(
            weights(model), self._parts
        ):
            left = part.left(weight)
            parametrize.remove_parametrizations(
                module, attribute, leave_parametrized=False
            )
            getattr(module, attribute).copy_(left)
            model.own[f"{task.index}/{name}.mask"] = packed(part.active)
        self._parts = []
        if self.biases == "own":
            for name, value in small_parameters(model):
                model.own[f"{task.index}/{name}"] = value.detach().clone()


@torch.no_grad()
def _mean_direction(model: FlowModel, n_tasks: int) -> list[Tensor]:
    """Mean over tasks of the magnitudes that each uses, at length 1, by matrix."""
    matrices = {name: getattr(module, key) for name, module, key in weights(model)}
    total = {name: torch.zeros_like(weight) for name, weight in matrices.items()}
    for index in range(n_tasks):
        used = used_weights(model, index)
        parts = {name: w.abs() * used[name] for name, w in matrices.items()}
        length = _length(parts.values())
        for name, part in parts.items():
            total[name] += part / (length * n_tasks)
    return list(total.values())


def _length(parts: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    return torch.stack([part.square().sum() for part in parts]).sum().sqrt()
