"""Accessibility measured: what simple heads find behind each coupling block."""

__all__ = ["HEADS", "accessibility", "measure_accessibility"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.ledger.measure import learnt_before, task_images
from analysis.metrics import image_auroc
from analysis.scoring import Scoring, is_defined
from analysis.witnesses.blocks import block_outputs
from analysis.witnesses.heads import class_head, one_class_head
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.scoring.maps import anomaly_maps
from cl_flow.scoring.scores import anomaly_of

HEADS = ("class", "one_class")
COLUMNS = ["category", "value", "labels", "scores"]


@table
def measure_accessibility(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    head: Sequence[str] = HEADS,
    n_images: int = 32,
    scoring: Scoring = Scoring(metric="image_auroc", part="logp"),
) -> pd.DataFrame:
    """Fit simple heads behind each coupling block, before and after later tasks.

    A flow is invertible, so nothing that it once told apart is gone; what may change is
    whether a simple head can still reach it. The head `class` is a ridge regression of
    the class among all that the later model knows, tested on patches of normal test
    images. The head `one_class` is a Gaussian of a category's normal patches, tested by
    image AUROC. Both are fitted anew to each output, on training images.

    How to read it: ask `accessibility_terms`.

    References:
        Probing representation forgetting in supervised and unsupervised continual
        learning (Davari et al., 2022)
        https://arxiv.org/abs/2203.13381

    Args:
        run: One run, or many, that learn task after task.
        after: The step that is diagnosed: index of the last task learned, or counted
            from the end.
        tasks: Which tasks; every one learned before that step by default.
        head: `"class"`, `"one_class"`, or both.
        n_images: Training images per category to fit to, at most.
        scoring: Size and smoothing of the maps.

    Returns:
        One row per `step task category level block head flow` with its `value`: the
        accuracy of patches or the image AUROC, and the `labels` and `scores` of the
        images. A block counts those passed, 0 are the features. `flow` is `old` (when
        the task had just been learned) or `new`. A score of `class` is the share of an
        image's patches that are right.

    Example:
        >>> sorted(set(measure_accessibility(run)["head"]))
        ['class', 'one_class']
    """
    refuse_unknown("head", head, HEADS)
    after = run[after].step
    new = run[after].model(pick_device())
    scoring = scoring.sized(run.config.features.image_size)
    frames = []
    places = learnt_before(run, after, tasks)
    title = f"accessibility in {run.name}"
    for task, step in Bar(places.items(), desc=title, unit="task"):
        old = run[step].model(pick_device())
        rows = accessibility(
            old,
            new,
            run.features,
            run.tasks[task],
            head=head,
            n_images=n_images,
            scoring=scoring,
        )
        frames.append(rows.assign(step=after, task=task))
    keys = ["step", "task", "category", "level", "block", "head", "flow"]
    return pd.concat(frames, ignore_index=True)[[*keys, "value", "labels", "scores"]]


@torch.inference_mode()
@one_thread
def accessibility(
    old: FlowModel,
    new: FlowModel,
    features: Features,
    categories: Sequence[str],
    *,
    head: Sequence[str] = HEADS,
    n_images: int = 32,
    scoring: Scoring = Scoring(metric="image_auroc", part="logp"),
) -> pd.DataFrame:
    """Accessibility under any two models: what one was and what it became.

    Args:
        old: The model when it had just learned the categories.
        new: What became of it.
        features: Images of every class of the new model.
        categories: Those to test on.
        head: As in `measure_accessibility`, like the other arguments.

    Returns:
        One row per `category level block head flow` with its `value`, `labels` and
        `scores`.
    """
    images = task_images(features, categories, new.categories, n_images=n_images)
    frames = []
    for flow, model in {"old": old, "new": new}.items():
        for level, grid in enumerate(images.grids):
            for block, h in enumerate(block_outputs(model, images, level)):
                keys = {"level": level, "block": block, "flow": flow}
                if "class" in head:
                    rows = _told_apart(images, h, categories, new.categories)
                    frames.append(rows.assign(head="class", **keys))
                if "one_class" in head:
                    rows = _detected(images, h, categories, grid, scoring)
                    frames.append(rows.assign(head="one_class", **keys))
    return pd.concat(frames, ignore_index=True)


def _told_apart(
    images: Features, h: Tensor, categories: Sequence[str], known: Sequence[str]
) -> pd.DataFrame:
    """Accuracy of the head `class` on normal test images."""
    places = [_places(images, category, "train") for category in known]
    told = class_head([h[at].flatten(0, 1) for at in places])
    rows = []
    for category in categories:
        at = _places(images, category, "test", label=0)
        if len(at):
            classes = told(h[at].flatten(0, 1)).view(len(at), -1)
            right = classes == list(known).index(category)
            shares = right.double().mean(1).numpy()
            rows.append((category, shares.mean(), np.zeros(len(at), int), shares))
    return pd.DataFrame(rows, columns=COLUMNS)


def _detected(
    images: Features,
    h: Tensor,
    categories: Sequence[str],
    grid: tuple[int, int],
    scoring: Scoring,
) -> pd.DataFrame:
    """Image AUROC of the head `one_class`, scored as HGAD's likelihood is."""
    side = scoring.side()
    rows = []
    for category in categories:
        training = h[_places(images, category, "train")].flatten(0, 1)
        test = _places(images, category, "test")
        if not is_defined("image_auroc", images.take(test)):
            continue
        normality = one_class_head(training)
        usual = normality(training).median()
        patches = anomaly_of(normality(h[test].flatten(0, 1)), usual)
        levels = [patches.view(len(test), -1)]
        maps = anomaly_maps(levels, [grid], (side, side), scoring.sigma)
        scores = maps.flatten(1).amax(1).numpy()
        labels = images.samples["label"].to_numpy()[test]
        rows.append((category, image_auroc(labels, scores), labels, scores))
    return pd.DataFrame(rows, columns=COLUMNS)


def _places(images: Features, category: str, split: str, **values: int) -> np.ndarray:
    """Positions of a category's images."""
    wanted = {"category": category, "split": split, **values}
    chosen = (images.samples[list(wanted)] == pd.Series(wanted)).all(axis=1)
    return np.flatnonzero(chosen)
