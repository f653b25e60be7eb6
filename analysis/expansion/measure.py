"""Expansion measured: centers added for later classes.

Their effect on the first task, while nothing is trained.
"""

__all__ = ["measure_expansion"]

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.scoring import Scoring, measure
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.model.placement import PLACEMENTS, smallest_distance
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import encode

ENTROPIES = ("all", "masked", "log_k")


@table
def measure_expansion(
    run: Run,
    *,
    placement: Sequence[str] = ("tile", "retile", "orthogonal", "data"),
    entropy: Sequence[str] = ENTROPIES,
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """First task just learned, and after centers of later tasks are added.

    Nothing is trained.

    How to read it: within a placement, what differs from the rows with `added` = 0 is
    the work of the new centers. The likelihood sees only its own class, so all of it
    enters through the entropy, but for `retile`, which moves the old centers.

    Args:
        run: One run, or many, that learn the first task by itself.
        placement: Where new centers go (`cl_flow.model.placement.PLACEMENTS`); `"data"`
            is at the means of the new classes' training latents under the flow as it
            is.
        entropy: Over `"all"` classes, `"masked"` to those of the first task, or over
            all and divided by ln K (`"log_k"`).
        scoring: How to score and measure; None in `given` routes to new classes too.

    Returns:
        One row per `placement added given entropy category metric part`, with its
        `value`, the `smallest_distance` of two centers over all levels, and for image
        metrics the `labels` and `scores` of the images. `added` counts the new classes.

    Example:
        >>> sorted(set(measure_expansion(run)["added"]))
        [0, 3]
    """
    refuse_unknown("placement of new centers", placement, PLACEMENTS)
    refuse_unknown("entropy", entropy, ENTROPIES)
    if scoring.entropy != "all":
        raise ValueError(
            "Expected a scoring with entropy='all', since `entropy` decides here; got "
            f"{scoring.entropy!r}."
        )
    first = _first_task(run)
    scoring = scoring.sized(run.config.features.image_size)
    settings = {"masked": {"known": first}, "log_k": {"per_log_k": True}}
    needed = run.features.categories if None in scoring.given else first
    images = run.features.where(category=list(needed))
    # Nothing is trained: the flow stays, and so do these.
    latents = encode(run[0].model(pick_device()), images)
    frames = []
    for place in Bar(placement, desc=f"expanding {run.name}", unit="placement"):
        for added, model in _growing(run, place):
            distances = [smallest_distance(level.mixture.mu) for level in model.levels]
            for choice in scoring.given:
                for kind in entropy:
                    rows = measure(
                        model,
                        latents,
                        first,
                        scoring=scoring,
                        given=choice,
                        **settings.get(kind, {}),
                    )
                    keys = {
                        "placement": place,
                        "added": added,
                        "given": str(choice),
                        "entropy": kind,
                    }
                    frames.append(rows.assign(**keys, smallest_distance=min(distances)))
    columns = [
        "placement",
        "added",
        "given",
        "entropy",
        "category",
        "metric",
        "part",
        "smallest_distance",
    ]
    return pd.concat(frames, ignore_index=True)[[*columns, "value", "labels", "scores"]]


def _first_task(run: Run) -> tuple[str, ...]:
    if run[0].categories != run.tasks[0]:
        raise ValueError(
            f"Expected a run that learns {', '.join(run.tasks[0])} first; {run.name} "
            "learns "
            f"{', '.join(run[0].categories)}."
        )
    return run.tasks[0]


def _growing(run: Run, placement: str) -> Iterator[tuple[int, FlowModel]]:
    """First task's model with the classes of later tasks added.

    One task after another, and how many classes were added.
    """
    model = run[0].model(pick_device())
    learnt = model.n_classes
    yield 0, model
    for names in run.tasks[1:]:
        data = _means(model, run.features, names) if placement == "data" else None
        model.expand_(names, init=placement, data=data)
        yield model.n_classes - learnt, model


@torch.no_grad()
@one_thread
def _means(
    model: FlowModel, features: Features, categories: Sequence[str]
) -> list[Tensor]:
    """Mean latent (n, D) of each category's training patches, per level."""
    sums = [level.codes.new_zeros(len(categories), level.dim) for level in model.levels]
    for i, category in enumerate(categories):
        images = features.where(split="train", label=0, category=category)
        for batch in images.batches():
            for total, level, x in zip(sums, model.levels, batch):
                z, _ = level(x.flatten(0, 1).to(level.codes))
                total[i] += z.sum(0) / (len(images) * len(level.codes))
    return sums


# ---- from scores to conclusions
