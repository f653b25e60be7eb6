"""Centers measured: distances, drift, and likeness of categories."""

__all__ = ["center_distances", "center_drift", "similarity"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from analysis.centers.conclude import pair_rows
from analysis.centers.say import DIGITS
from analysis.experiments import table
from cl_flow.data.features import Features
from cl_flow.model.flow import FlowModel
from cl_flow.runs.run import Run

# ---- tables of runs


@table
def center_distances(run: Run) -> pd.DataFrame:
    """Euclidean distance between every two main centers after each step.

    The unit is the standard deviation of a mixture component; HGAD places centers 5
    apart, at every level, and the mean over levels keeps that scale. How to read it:
    what is closer than `placed` was drawn together by training. A placement may itself
    put a new class closer to some old ones, so compare with `placed` before blaming the
    data.

    Args:
        run: One run, or many.

    Returns:
        One row per `step level category other` (both orders, and each with itself) with
        the categories' tasks `task` and `other_task`: `distance`, and `placed`, the
        distance when the later of the two had just been placed and not been trained.
        `level` is the number of a level, or `"mean"` over all.

    Example:
        >>> distances = center_distances(run)
        >>> float(distances.query("category == other")["distance"].max())
        0.0
    """
    frames = []
    placed = None
    for step in range(len(run)):
        placed = _placed_distances(run, step, placed)
        values = {"distance": _distances(run[step].model()), "placed": placed}
        frames.append(pair_rows(values, run[step].categories).assign(step=step))
    frame = pd.concat(frames, ignore_index=True)
    task = {name: index for index, names in enumerate(run.tasks) for name in names}
    frame = frame.assign(
        task=frame["category"].map(task), other_task=frame["other"].map(task)
    )
    return frame[
        [
            "step",
            "level",
            "task",
            "category",
            "other_task",
            "other",
            "distance",
            "placed",
        ]
    ]


@table
def center_drift(run: Run) -> pd.DataFrame:
    """Distance of each main center from where it was just learned.

    How to read it: 0 at its own step by definition, and for ever where old centers are
    frozen. A center that moved along with its latents has harmed nobody: hold it
    against the distances between centers, and against the latents.

    Args:
        run: One run, or many.

    Returns:
        One row per `step level task category`, from the step its task was learned at:
        `distance`, in standard deviations of a component. `level` is the number of a
        level, or `"mean"` over all.

    Example:
        >>> drift = center_drift(run)
        >>> float(drift.query("step == task")["distance"].max())
        0.0
    """
    learnt: dict[str, np.ndarray] = {}
    rows = []
    for step in range(len(run)):
        model = run[step].model()
        mu = [level.mixture.mu.detach().double().numpy() for level in model.levels]
        for k, category in enumerate(model.categories):
            here = [centers[k] for centers in mu]
            moved = [
                np.linalg.norm(a - b)
                for a, b in zip(here, learnt.setdefault(category, here))
            ]
            task = next(t for t, names in enumerate(run.tasks) if category in names)
            rows += [
                (step, str(i), task, category, distance)
                for i, distance in enumerate(moved)
            ]
            rows.append((step, "mean", task, category, np.mean(moved)))
    return pd.DataFrame(rows, columns=["step", "level", "task", "category", "distance"])


@table
def similarity(run: Run) -> pd.DataFrame:
    """Likeness of two categories beside the distance of their centers.

    Likeness as the backbone sees it; distances after each step.

    Likeness is measured where nothing is learned: the Euclidean distance between the
    two categories' mean features, over normal training images and positions, as the run
    takes them (whitened or raw).

    Args:
        run: One run, or many.

    Returns:
        One row per `step level category other`, each pair once, with its tasks `task
        other_task`: `feature_distance center_distance placed`, and the `change` of
        center distance since placement. `level` is the number of a level, or `"mean"`
        over all.

    Raises:
        ValueError: The run has a single category.

    Example:
        >>> similarity(run).query("step == 1 and level == 'mean'").shape[0]
        15
    """
    names = [name for task in run.tasks for name in task]
    if len(names) < 2:
        raise ValueError(
            f"Expected at least two categories to compare; got {', '.join(names)}."
        )
    looks = pair_rows({"feature_distance": _feature_distances(run, names)}, names)
    frame = center_distances(run).drop(columns=["run", "strategy", "seed"])
    frame = frame.rename(columns={"distance": "center_distance"}).merge(
        looks, on=["level", "category", "other"]
    )
    frame["change"] = (frame["center_distance"] - frame["placed"]).round(DIGITS)
    order = {name: i for i, name in enumerate(names)}
    first = frame["category"].map(order) < frame["other"].map(order)
    keys = ["step", "level", "task", "category", "other_task", "other"]
    return frame.loc[
        first, [*keys, "feature_distance", "center_distance", "placed", "change"]
    ].reset_index(drop=True)


# ---- from tables to conclusions


# ---- geometry


def _placed_distances(run: Run, step: int, before: np.ndarray | None) -> np.ndarray:
    """Per level the distances (L, K, K) at placement.

    Pairs that an earlier step placed keep theirs from `before`.
    """
    known = run[step].categories
    earlier = run[step - 1] if step else None
    grows = (
        earlier is not None and known[: len(earlier.categories)] == earlier.categories
    )
    model = earlier.model() if grows else run[step].model().fresh()
    n_old = model.n_classes
    if n_old < len(known):
        model.expand_(known[n_old:])
    values = _distances(model)
    if grows:
        values[:, :n_old, :n_old] = before
    return values


def _distances(model: FlowModel) -> np.ndarray:
    """Per level the distances between main centers (L, K, K).

    Rounded, so that what was placed at 5 is tied at 5.
    """
    return np.stack(
        [_between(level.mixture.mu.detach().double().numpy()) for level in model.levels]
    ).round(DIGITS)


def _between(points: np.ndarray) -> np.ndarray:
    return squareform(pdist(points))


def _feature_distances(run: Run, names: Sequence[str]) -> np.ndarray:
    """Per level the distances between the categories' mean features (L, K, K)."""
    normal = run.features.where(split="train", label=0)
    means = [_mean_features(normal.where(category=name)) for name in names]
    return np.stack([_between(np.stack(level)) for level in zip(*means)])


def _mean_features(features: Features) -> list[np.ndarray]:
    """Per level the mean (D,) over images and positions."""
    sums = [[x.double().mean(1).sum(0) for x in batch] for batch in features.batches()]
    return [(sum(level) / len(features)).numpy() for level in zip(*sums)]


# ---- correlation
