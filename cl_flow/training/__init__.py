"""Training on one task."""

__all__ = ["Penalty", "Rehearsal", "TrainConfig", "train"]

from cl_flow.training.batches import Rehearsal
from cl_flow.training.config import TrainConfig
from cl_flow.training.loop import train
from cl_flow.training.step import Penalty
