"""The forgetting ledger.

Earlier tasks under every combination of what the model was and what it has become.
"""

__all__ = [
    "counterfactuals",
    "learnt_before",
    "measure_ledger",
    "refit_centers",
    "task_images",
]

import copy
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.ledger.attribution import PLAYERS
from analysis.ledger.swaps import swap
from analysis.scoring import Scoring, measure
from cl_flow.align.refits import FAMILIES, refit
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features, union
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import Latents, encode

# ---- the measurements


@table
def measure_ledger(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    family: Sequence[str] = FAMILIES,
    n_latents: int = 4096,
    scoring: Scoring = Scoring(metric="image_auroc"),
) -> pd.DataFrame:
    """Measure earlier tasks under old and new parts of the model.

    That is old and new flow, old, new and refitted centers, old and new rivals.

    A is measured on the task's test images; scores are calibrated anew in each state,
    on the task's normal training images, with the classes that compete there. Refits
    see nothing but those images either.

    How to read it: ask `ledger_terms` and `ledger_shares` what it says.

    Args:
        run: One run, or many, that learn task after task and keep their centers.
        after: The step that is diagnosed: index of the last task learned, or counted
            from the end.
        tasks: Which tasks; every one learned before that step by default.
        family: How refitted centers are fitted, names in
            `cl_flow.align.refits.FAMILIES`.
        scoring: How to score and measure; None in `given` routes among what competes.
        n_latents: Latents per category and level that a refit sees, at most, drawn at
            random.

    Returns:
        One row per `step task category given flow centers mask metric part`, with its
        `value` and, for image metrics, the `labels` and `scores` of the images. `flow`
        is `old` (when the task had just been learned), `new`, or `untrained`; `centers`
        and `mask` are `old` or `new`, `centers` also the family of a refit.

    Example:
        >>> sorted(set(measure_ledger(run)["flow"]))
        ['new', 'old', 'untrained']
    """
    refuse_unknown("family", family, FAMILIES)
    after = run[after].step
    places = learnt_before(run, after, tasks)
    new = run[after].model(pick_device())
    scoring = scoring.sized(run.config.features.image_size)
    frames = []
    title = f"ledger of {run.name}"
    for task, step in Bar(places.items(), desc=title, unit="task"):
        old = run[step].model(pick_device())
        for choice in scoring.given:
            rows = counterfactuals(
                old,
                new,
                run.features,
                run.tasks[task],
                family=family,
                n_latents=n_latents,
                scoring=scoring,
                given=choice,
            )
            frames.append(rows.assign(step=after, task=task, given=str(choice)))
    keys = ["step", "task", "category", "given", *PLAYERS, "metric", "part"]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "labels", "scores"]]


def learnt_before(run: Run, after: int, tasks: Sequence[int] | None) -> dict[int, int]:
    """Step at which each task was learned.

    Args:
        run: The run.
        after: Index of the last task learned.
        tasks: Which tasks; those learned before `after` by default.

    Raises:
        ValueError: A task that the model at `after` does not know; or no task was
            learned earlier.
    """
    known = [set(run[step].categories) for step in range(after + 1)]
    learnt = {
        task: next(step for step, names in enumerate(known) if set(categories) <= names)
        for task, categories in enumerate(run.tasks)
        if set(categories) <= known[-1]
    }
    chosen = (
        [task for task, step in learnt.items() if step < after]
        if tasks is None
        else list(tasks)
    )
    if not chosen or not set(chosen) <= set(learnt):
        raise ValueError(
            f"Expected tasks that the model after step {after} of {run.name} knows, "
            f"and that were learned before it; got {chosen or 'none'}, and it knows "
            f"{sorted(learnt)}."
        )
    return {task: learnt[task] for task in chosen}


def counterfactuals(
    old: FlowModel,
    new: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    family: Sequence[str] = FAMILIES,
    n_latents: int = 4096,
    scoring: Scoring = Scoring(metric="image_auroc"),
    given: str | None = "category",
) -> pd.DataFrame:
    """Ledger of any two models: what one was and what it became.

    Args:
        old: The model when it had just learned the categories.
        new: What became of it.
        features: Images of every class of either model.
        categories: Those to test on; of the old model.
        family: How refitted centers are fitted.
        n_latents: Latents per category and level that a refit sees, at most.
        scoring: How to score and measure; `given` is decided by the next argument.
        given: `"category"` or None.

    Returns:
        One row per `flow centers mask category metric part` with its `value`, `labels`
        and `scores`.
    """
    images = task_images(features, categories, categories if given else new.categories)
    flows = {"old": old, "new": new, "untrained": new.fresh()}
    frames = []
    for flow, model in flows.items():
        latents = encode(model, images)
        for state, mixtures in _mixtures(
            flow, old, new, latents, categories, family, n_latents
        ):
            rows = measure(mixtures, latents, categories, scoring=scoring, given=given)
            frames.append(rows.assign(**dict(zip(PLAYERS, (flow, *state)))))
    return pd.concat(frames, ignore_index=True)


def task_images(
    features: Features,
    tested: Sequence[str],
    calibrated: Sequence[str],
    *,
    n_images: int | None = None,
) -> Features:
    """Normal training images of some categories and test images of others.

    Args:
        features: Images of all of them.
        tested: Categories of the test images.
        calibrated: Categories of the training images.
        n_images: Training images per category; all by default.
    """
    training = features.where(split="train", label=0, category=list(calibrated))
    if n_images is not None:
        few = training.samples.groupby("category").head(n_images)
        training = training.take(few.index)
    return union([training, features.where(split="test", category=list(tested))])


def _mixtures(
    flow: str,
    old: FlowModel,
    new: FlowModel,
    latents: Latents,
    categories: Sequence[str],
    family: Sequence[str],
    n_latents: int,
) -> Iterator[tuple[tuple[str, str], FlowModel]]:
    """Centers and masks that one flow is held against.

    Each with a model that lends them.
    """
    restored = swap(new, old, "mixture")
    alone = swap(restored, old, "mask")
    if flow != "untrained":
        yield ("new", "new"), new
        yield ("new", "old"), swap(new, old, "mask")
        yield ("old", "new"), restored
        yield ("old", "old"), alone
    for name in family:
        yield (
            (name, "old"),
            refit_centers(alone, latents, categories, family=name, n_latents=n_latents),
        )


def refit_centers(
    model: FlowModel,
    images: Features,
    categories: Sequence[str],
    *,
    family: str = "full",
    n_latents: int = 4096,
) -> FlowModel:
    """Copy whose classes of these categories are fitted anew.

    To their normal training images.

    Args:
        model: The model, and what its classes were.
        images: Features, or their latents under the flow to fit to.
        categories: What to refit.
        family: Name in `cl_flow.align.refits.FAMILIES`.
        n_latents: Latents per category and level to fit to, at most, drawn at random.
    """
    model = copy.deepcopy(model)
    for category in categories:
        training = images.where(split="train", label=0, category=category)
        latents = training if isinstance(training, Latents) else encode(model, training)
        for level, z in zip(model.levels, latents.read()):
            z = _some_latents(z.flatten(0, 1), n_latents).to(level.codes)
            level.mixture = refit(
                level.mixture, z, model.class_ids([category]), family=family
            )
    return model


def _some_latents(z: Tensor, n: int) -> Tensor:
    """Some of the latents, always the same.

    At random, since every other one would miss whole columns of the grid.
    """
    return (
        z
        if len(z) <= n
        else z[torch.randperm(len(z), generator=torch.Generator().manual_seed(0))[:n]]
    )
