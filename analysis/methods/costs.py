"""Costs of methods: bytes kept between tasks, and time per step."""

__all__ = ["kept_bytes", "method_name", "step_cost"]

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.experiments import of_any_model, of_any_stream, table
from cl_flow.calls import checked
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.runs.continual import learn
from cl_flow.runs.run import Run
from cl_flow.strategies import STRATEGIES
from cl_flow.training.step import WARM_UP


@checked
def method_name(run: Run) -> str:
    """The strategy with its options.

    `ewc (strength 10000)`, and whether old centers were frozen; before it the model, if
    it is no flow.

    Example:
        >>> [method_name(run) for run in runs]
        ['finetune', 'joint']
    """
    options = [
        f"{name} {_short(value)}" for name, value in sorted(run.config.options.items())
    ]
    options += ["old centers frozen"] * (run.config.centers == "freeze_old")
    name = f"{run.strategy} ({', '.join(options)})" if options else run.strategy
    return name if run.config.is_flow else f"{run.config.model}: {name}"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@checked
def kept_bytes(run: Run) -> float:
    """Bytes that the strategy keeps after the last task beside the model.

    For one that sees the past, all features.

    The model itself and, while a task is learned, a second copy of it are not counted;
    NaN for a joint run, which has no second task.

    Example:
        >>> [kept_bytes(run) for run in runs]
        [0.0, nan]
    """
    if len(run.tasks) > 1 and len(run) == 1:
        return np.nan
    if not STRATEGIES[run.strategy].sees_past:
        return float(run[-1].kept_bytes)
    images = run.features.where(split="train", label=0)
    return float(len(images) * sum(level[0].nbytes for level in images.levels))


@table
@of_any_model
@of_any_stream
def step_cost(run: Run, *, repeats: int = 3) -> pd.DataFrame:
    """Time of a step of the last task beside fine-tuning's.

    Both timed by turns in this call.

    How to read it: `step_ratio` 2 is twice the time per optimizer step; `steps_ratio` 5
    is five times as many steps per pass over the task's images, which is how rehearsal
    pays. Setting up and consolidating are not in it.

    Args:
        run: One run, or many, of two tasks or more.
        repeats: Epochs of each.

    Returns:
        One row: `step_seconds finetune_seconds step_ratio steps_ratio`.

    Example:
        >>> bool((step_cost(run, repeats=1)["step_seconds"] > 0).all())
        True
    """
    names = ["step_seconds", "finetune_seconds", "step_ratio", "steps_ratio"]
    if len(run) < 2:
        return pd.DataFrame([[np.nan] * 4], columns=names)
    turns = [
        (_steps(run, run.strategy, run.config.options), _steps(run, "finetune", {}))
        for _ in range(repeats)
    ]
    ours, plain = (np.nanmedian(np.concatenate(times)) for times in zip(*turns))
    row = [ours, plain, ours / plain, len(turns[0][0]) / len(turns[0][1])]
    return pd.DataFrame([row], columns=names)


def _steps(run: Run, name: str, options: Mapping[str, Any]) -> np.ndarray:
    """Seconds of each step in an epoch of the last task, NaN for those of a beginning.

    The run's own strategy begins where the last but one snapshot ended, another with a
    new model of as many classes.
    """
    strategy = STRATEGIES[name](**options)
    last = len(run) - 1
    stream = strategy.arrange(run.stream())
    model = run[last - 1].model(pick_device())
    if name == run.strategy:
        strategy.memory.update(run[last - 1].memory())
    else:
        model = model.fresh().expand_(run[last - 1].categories)
    one_pass = dataclasses.replace(run.config.training, epochs=1)
    field = "train" if run.config.is_flow else run.config.model
    config = run.config.replace(**{field: one_pass})
    stamps: list[float] = []
    on_gpu = pick_device().type == "cuda"

    def stamp(step: int, model: FlowModel) -> None:
        if on_gpu:  # which may be far behind what it was asked for
            torch.cuda.synchronize()
        stamps.append(time.perf_counter())

    learn(model, strategy, stream[last], config, past=stream[:last], watch=stamp)
    seconds = np.diff(stamps)
    if on_gpu and len(seconds) > WARM_UP + 1:
        seconds[: WARM_UP + 1] = np.nan  # before a step is recorded, and while it is
    return seconds
