"""Configuration of one task's training."""

__all__ = ["TrainConfig"]

import math
from dataclasses import dataclass, field

from cl_flow.identity import settle
from cl_flow.model.losses import LossConfig


@dataclass(frozen=True)
class TrainConfig:
    """Schedule, batches and losses of a task's training.

    The defaults are HGAD's.

    Args:
        epochs: Passes over the task's images (HGAD: 25 meta-epochs of 8).
        batch_images: Images per step.
        batch_patches: Patches drawn at random per image and level; None takes whole
            images.
        lr: Peak learning rate.
        betas: Adam's.
        weight_decay: Coupled decay of the flow's weights; mixtures have none.
        warmup: Share of the steps over which the rate rises linearly from a tenth.
        final_lr: Rate at the end of the cosine, as a share of the peak.
        staircase: Stairs that the cosine falls in, as many passes each; None lets it
            fall smoothly. HGAD's meta-epochs are such stairs.
        inter_only: Share of the steps before the losses within a class begin (HGAD: 2
            of 25).
        losses: Weights of the terms.

    Example:
        >>> TrainConfig(epochs=10, batch_patches=32).lr
        0.0002
    """

    epochs: int = 200
    batch_images: int = 8
    batch_patches: int | None = None
    lr: float = 2e-4
    betas: tuple[float, float] = (0.95, 0.99)
    weight_decay: float = 1e-4
    warmup: float = 0.08
    final_lr: float = 1e-3
    staircase: int | None = None
    inter_only: float = 0.08
    losses: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        settle(
            self,
            epochs=(0, math.inf),
            batch_images=(1, math.inf),
            batch_patches=(1, math.inf),
            lr=(0, math.inf),
            betas=(0, 1),
            weight_decay=(0, math.inf),
            warmup=(0, 1),
            final_lr=(0, 1),
            staircase=(1, math.inf),
            inter_only=(0, 1),
        )
