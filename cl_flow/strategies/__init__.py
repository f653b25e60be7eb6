"""Strategies: how the next task is learned.

One file each; `@STRATEGIES` enrols it.
"""

__all__ = ["STRATEGIES", "Strategy"]

from cl_flow.strategies import (  # noqa: F401  (each enrols itself)
    adagauss,
    class_prior,
    cumulative,
    efc,
    ewc,
    feature_gaussian,
    finetune,
    freeze,
    functional,
    gauge_free,
    generative_replay,
    gradient_mixture,
    joint,
    lora,
    lwf,
    packnet,
    realign,
    replay,
    single,
    sparse,
)
from cl_flow.strategies.base import STRATEGIES, Strategy
