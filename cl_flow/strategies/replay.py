"""Replay: some patches of every earlier class are kept.

They are mixed into each batch.
"""

__all__ = ["Replay"]

import dataclasses

from cl_flow.data.patches import ImagePool, PatchPool, stored
from cl_flow.data.streams import Task
from cl_flow.model.base import Model
from cl_flow.model.flow import FlowModel
from cl_flow.strategies.base import STRATEGIES, Strategy
from cl_flow.strategies.shared.balance import balanced_share
from cl_flow.strategies.shared.seeds import task_generator
from cl_flow.training.batches import Rehearsal


@STRATEGIES("replay")
class Replay(Strategy):
    """Exemplars at the granularity of patches, or of images where a model reads those.

    The backbone is frozen, so their features never age.

    Under a budget every class keeps an equal number at every level; as classes arrive,
    each gives some up. With everything kept, and every class equally often in a batch,
    it is `cumulative` patch by patch. What is kept of a class that comes again is a
    uniform sample of all that was seen of it.

    References:
        Random Sampling with a Reservoir (Vitter, 1985)
        https://doi.org/10.1145/3147.3165
        On Tiny Episodic Memories in Continual Learning (Chaudhry et al., 2019)
        https://arxiv.org/abs/1902.10486

    Args:
        budget_bytes: What is kept in all, split evenly over levels and classes; None
            keeps everything.
        ratio: Rehearsed images for each of the task's in a batch; None gives every
            class an equal part.
    """

    any_model = True
    needs_boundaries = False
    GRID = (
        {"budget_bytes": 100_000},
        {"budget_bytes": 1_000_000},
        {"budget_bytes": 10_000_000},
    )

    def __init__(
        self, *, budget_bytes: int | None = 1_000_000, ratio: float | None = 1.0
    ) -> None:
        super().__init__()
        self.budget_bytes = budget_bytes
        self.ratio = ratio

    def rehearse(self, model: FlowModel, task: Task) -> Rehearsal | None:
        if not self.memory:
            return None
        bag = stored(self.memory, _kind(model)).to(model.device)
        return Rehearsal(balanced_share(model, task, self.ratio), bag)

    def consolidate(self, model: FlowModel, task: Task) -> None:
        generator = task_generator(model, task)
        kind = _kind(model)
        bag = kind.of(task.features, model.categories, generator)
        if task.mixed:
            bag = dataclasses.replace(bag, seen=bag.counts)
        if self.memory:
            bag = stored(self.memory, kind).joined(bag, generator)
        self.memory = (
            bag if self.budget_bytes is None else bag.first(self._quotas(bag))
        ).tensors()

    def _quotas(self, bag: PatchPool) -> list[int]:
        """Patches of each class per level."""
        n_counts = 2 if bag.seen else 1
        each = (
            self.budget_bytes / len(bag.x) / bag.n_classes
            - n_counts * bag.counts[0].element_size()
        )
        sizes = [
            x.shape[1] * x.element_size() + cells.element_size()
            for x, cells in zip(bag.x, bag.cells)
        ]
        quotas = [max(0, int(each // size)) for size in sizes]
        if min(map(len, bag.first(quotas).x)) < bag.n_classes:
            raise ValueError(
                f"Expected a budget of {bag.unit} per class and level or more; got "
                f"{self.budget_bytes} bytes for "
                f"{bag.n_classes} classes of {sizes} bytes a patch."
            )
        return quotas


def _kind(model: Model) -> type[PatchPool]:
    return ImagePool if model.whole_images else PatchPool
