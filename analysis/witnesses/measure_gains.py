"""Learning measured: each task before it was learned, just learned, and in the end."""

__all__ = ["measure_learning", "stages"]

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.experiments import table
from analysis.ledger.measure import learnt_before
from analysis.scoring import Scoring, measure, under_true_class
from cl_flow.data.features import Features
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import refuse_several_flows


@table
def measure_learning(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Score earlier tasks at three times: before, just learned, and in the end.

    Before a task is learned its classes have no center yet: they are given those that
    training would begin with. The first task's model before is one that learned
    nothing.

    How to read it: ask `relative_forgetting`.

    Args:
        run: One run, or many, that learn task after task, with one flow for all
            classes.
        after: The step that is the end: index of the last task learned, or counted from
            the end.
        tasks: Which tasks; every one learned before that step by default.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `step task category when metric part`, with its `value` and, for
        image metrics, the `labels` and `scores` of the images. `when` is `before`,
        `learned` or `last`.

    Example:
        >>> measure_learning(run)["step"].unique().tolist()
        [1]
    """
    after = run[after].step
    last = run[after].model(pick_device())
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    frames = []
    places = learnt_before(run, after, tasks)
    title = f"learning in {run.name}"
    for task, step in Bar(places.items(), desc=title, unit="task"):
        models = {
            "before": _before(run, step),
            "learned": run[step].model(pick_device()),
            "last": last,
        }
        rows = stages(models, run.features, run.tasks[task], scoring=scoring)
        frames.append(rows.assign(step=after, task=task))
    keys = ["step", "task", "category", "when", "metric", "part"]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "labels", "scores"]]


def stages(
    models: Mapping[str, FlowModel],
    features: Features,
    categories: Sequence[str],
    *,
    scoring: Scoring,
) -> pd.DataFrame:
    """Score the same categories under several models.

    Args:
        models: By the names that `when` is to hold.
        features: Images of the categories.
        categories: Those to test on; every model knows them.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `when category metric part`, as `analysis.scoring.measure` has it.
    """
    frames = [
        measure(model, features, categories, scoring=scoring).assign(when=when)
        for when, model in models.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _before(run: Run, step: int) -> FlowModel:
    """The model that a step's training begins with."""
    learned = run[step].model(pick_device())
    model = run[step - 1].model(pick_device()) if step else learned.fresh()
    refuse_several_flows(model)
    new = [name for name in learned.categories if name not in model.categories]
    return model.expand_(new)
