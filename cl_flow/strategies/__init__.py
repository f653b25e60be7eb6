"""Strategies: how the next task is learnt. One file each; `@STRATEGIES` enrols it."""

__all__ = ["STRATEGIES", "Strategy"]

from cl_flow.strategies import cumulative, finetune, joint, single  # noqa: F401  (each enrols itself)
from cl_flow.strategies.base import STRATEGIES, Strategy
