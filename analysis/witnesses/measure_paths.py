"""The straight line from a continual model to one that never lost an image."""

__all__ = ["UNITS", "line", "measure_path", "refuse_other_start"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from analysis.experiments import table
from analysis.ledger.measure import learnt_before, refit_centers, task_images
from analysis.scoring import Scoring, measure, under_true_class
from analysis.witnesses.between import between, match_units
from cl_flow.align.refits import FAMILIES
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.fitting import fit
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import Latents, encode, through

UNITS = ("trained", "matched")
POINTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@table
def measure_path(
    run: Run,
    *,
    tasks: Sequence[int] | None = None,
    points: Sequence[float] = POINTS,
    centers: Sequence[str] = ("interpolated", "full"),
    units: Sequence[str] = UNITS,
    n_images: int = 24,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    r"""Walk from the last model to one that was trained on with all images.

    Both begin with the same model after the first task; one went on as the run did, the
    other as the strategy `cumulative`. On the line $(1 - a)\,\theta_T + a\,\theta'_T$
    old tasks are measured on held-out images.

    How to read it: where the loss falls without a barrier, forgetting displaced the
    model within one valley, and what it needs lies straight ahead. A barrier that goes
    when hidden units are `matched` was their order alone; one that goes with refitted
    centers was the centers'.

    References:
        Linear mode connectivity in multitask and continual learning (Mirzadeh et al.,
        2021)
        https://arxiv.org/abs/2010.04495

    Args:
        run: One run, or many, that learn task after task. The cumulative model is a run
            of its own, trained when it is missing.
        tasks: Which tasks; all but the last by default.
        points: Shares a of the way.
        centers: Those on the line (`"interpolated"`), or families of
            `cl_flow.align.refits.refit`.
        units: Hidden units of the cumulative model in the order that it has them
            (`"trained"`), or in that of the run's (`"matched"`).
        n_images: Training images per category to calibrate on and to refit to.
        scoring: How to score and measure, under the true class.

    Returns:
        One row per `step task category units centers share metric part`, with its
        `value`, and the `labels` and `scores` of the images. The metric `nll` is −log p
        of normal patches per dimension, in nats, under the true class.

    Raises:
        ValueError: The two runs did not learn the same first model.

    Example:
        >>> walked = measure_path(run, points=(0.0, 0.5, 1.0))
        >>> walked["centers"].unique().tolist()
        ['interpolated', 'full']
    """
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    refuse_unknown("order of units", units, UNITS)
    refuse_unknown("centers", centers, ("interpolated", *FAMILIES))
    after = len(run) - 1
    places = learnt_before(run, after, tasks)
    task_of = {name: task for task in places for name in run.tasks[task]}
    categories = list(task_of)
    other = _cumulative(run)
    last, end = (one[-1].model(pick_device()) for one in (run, other))
    ends = {"trained": end, "matched": match_units(end, last)}
    features = run.features.where(category=categories)
    frames = []
    for name in units:
        rows = line(
            last,
            ends[name],
            features,
            categories,
            points=points,
            centers=centers,
            n_images=n_images,
            scoring=scoring,
        )
        frames.append(rows.assign(step=after, units=name))
    found = pd.concat(frames, ignore_index=True)
    found["task"] = found["category"].map(task_of)
    keys = ["step", "task", "category", "units", "centers", "share", "metric", "part"]
    return found[[*keys, "value", "labels", "scores"]]


def line(
    start: FlowModel,
    end: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    points: Sequence[float] = POINTS,
    centers: Sequence[str] = ("interpolated", "full"),
    n_images: int = 24,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Measure the straight line between any two models of one kind.

    Args:
        start: The model at 0.
        end: One with the same rotations and classes, at 1.
        features: Images of the categories.
        categories: Those to test on.
        points: As in `measure_path`, like the other arguments.

    Returns:
        One row per `category centers share metric part` with its `value`, `labels` and
        `scores`.
    """
    images = task_images(features, categories, categories, n_images=n_images)
    frames = []
    for share in Bar(points, desc="between two models", unit="point"):
        model = between(start, end, share)
        latents = encode(model, images)
        for choice in centers:
            head = model
            if choice != "interpolated":
                head = refit_centers(model, latents, categories, family=choice)
            rows = [
                measure(head, latents, categories, scoring=scoring),
                _losses(head, latents, categories),
            ]
            here = pd.concat(rows, ignore_index=True)
            frames.append(here.assign(share=share, centers=choice))
    return pd.concat(frames, ignore_index=True)


@torch.inference_mode()
@one_thread
def _losses(
    model: FlowModel, latents: Latents, categories: Sequence[str]
) -> pd.DataFrame:
    """−log p per dimension of normal test images under their class."""
    rows = []
    for category in categories:
        test = latents.where(split="test", label=0, category=category)
        if not len(test):
            continue
        y = model.class_ids([category])
        losses = []
        for batch in test.batches():
            levels = []
            for level, x in zip(model.levels, batch, strict=True):
                z, log_det = through(level, x)
                log_p = level.mixture.log_prob(z, y) + log_det
                levels.append(-log_p.view(len(x[0]), -1).mean(1) / level.dim)
            losses.append(torch.stack(levels).mean(0))
        scores = torch.cat(losses).cpu().numpy()
        labels = np.zeros(len(scores), dtype=int)
        rows.append((category, "nll", "logp", scores.mean(), labels, scores))
    columns = ["category", "metric", "part", "value", "labels", "scores"]
    return pd.DataFrame(rows, columns=columns)


def _cumulative(run: Run) -> Run:
    """The run that goes on from the same first model with all images."""
    config = run.config.replace(strategy="cumulative", options={})
    other = fit(config, folder=run.folder.parent)
    refuse_other_start(run, other)
    return other


def refuse_other_start(run: Run, other: Run) -> None:
    """Refuse two runs that did not learn the same first model, to the bit.

    Raises:
        ValueError: They differ after the first task.
    """
    one, two = (each[0].model().state_dict() for each in (run, other))
    same = one.keys() == two.keys()
    if not same or not all(torch.equal(one[name], two[name]) for name in one):
        raise ValueError(
            "Expected two runs with the same model after the first task, trained by "
            f"one version on one device; got {run.name} and {other.name}, whose models "
            "differ there. Train both anew: fit(run.config, overwrite=True)."
        )
