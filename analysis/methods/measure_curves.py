"""Learning curves: what a model detects after so many passes and seconds of a task."""

__all__ = ["measure_curve"]

import time
from typing import Any

import pandas as pd

from analysis.experiments import of_any_model, table
from analysis.methods.costs import method_name
from analysis.scoring import Scoring, measure
from cl_flow.calls import fitted
from cl_flow.devices import pick_device
from cl_flow.runs.config import new_strategy
from cl_flow.runs.continual import learn, model_before
from cl_flow.runs.run import Run


@table
@of_any_model
def measure_curve(
    run: Run,
    *,
    step: int = 0,
    every: int = 5,
    scoring: Scoring = Scoring(part="product"),
) -> pd.DataFrame:
    """Learn a task of a run once more, and test it every few passes.

    The run itself stays as it is, and what is learned is what it learned. Seconds are
    those of training alone, on this machine and what else it was doing.

    How to read it: a curve that is flat at its end has been trained long enough; which
    one is above the other at a time is cheaper there.

    Args:
        run: One run, or many; a joint one has a single task.
        step: Which task is learned again: its index.
        every: Passes over the task's images from one test to the next.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `passes category metric part`, with the `seconds` until then, its
        `value`, the `method` by name, and the `step`.

    Raises:
        ValueError: The run has no such step, or no pass is tested.
    """
    fitted("measure_curve(step=…)", step, int, (0, len(run) - 1))
    fitted("measure_curve(every=…)", every, int, (1, run.config.training.epochs))
    strategy = new_strategy(run.config)
    stream = strategy.arrange(run.stream())
    scoring = scoring.sized(run.config.features.image_size)
    frames: list[pd.DataFrame] = []
    learned: dict[str, Any] = {"passes": 0, "paused": 0.0}

    def look(n_steps: int, model: Any) -> None:
        if not n_steps:
            learned.update(model=model, begun=time.perf_counter())

    def passed() -> None:
        now = time.perf_counter()
        learned["passes"] += 1
        if learned["passes"] % every:
            return
        model = learned["model"]
        rows = measure(model, run.features, model.categories, scoring=scoring)
        seconds = now - learned["begun"] - learned["paused"]
        frames.append(rows.assign(passes=learned["passes"], seconds=seconds))
        learned["paused"] += time.perf_counter() - now

    model = model_before(run, step, strategy, pick_device())
    task, past = stream[step], stream[:step]
    told: dict[str, Any] = {"watch": look, "progress": passed}
    learn(model, strategy, task, run.config, past=past, **told)
    columns = ["passes", "seconds", "category", "metric", "part", "value"]
    curve = pd.concat(frames, ignore_index=True)[columns]
    return curve.assign(method=method_name(run), step=step)
