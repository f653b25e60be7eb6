"""Detection measured: every snapshot on every category that it knows."""

__all__ = ["evaluate", "forgetting_table", "image_scores", "pixel_wins"]

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from analysis import intervals, metrics
from analysis.detection.conclude import forgetting_row
from analysis.experiments import (
    of_any_model,
    of_any_stream,
    refuse_unlike_runs,
    several_runs,
    table,
)
from analysis.intervals import Resampling
from analysis.rows import chosen, of_tables
from analysis.scoring import (
    Scoring,
    is_defined,
    scored,
    short_path,
    task_of,
    true_masks,
    under_true_class,
    value_of,
)
from cl_flow.calls import refuse_unknown
from cl_flow.runs.run import Run
from cl_flow.scoring.scores import PARTS

# ---- scores of snapshots


@table
@of_any_model
@of_any_stream
def evaluate(run: Run, *, scoring: Scoring = Scoring()) -> pd.DataFrame:
    """Measure every snapshot on every category that it knows.

    Scores are calibrated on all training images of these categories, on a stream
    without boundaries on those yet to come as well.

    Args:
        run: One run, or many.
        scoring: How to score and measure.

    Returns:
        One row per `step task category metric part given`, with its `value`: NaN where
        a category has no anomalous test image, or for a metric of images no normal one.

    Example:
        >>> sorted(set(evaluate(run)["metric"]))
        ['image_auroc', 'pixel_auroc']
    """
    rows = []
    for one in scored(run, scoring):
        task = task_of(run, one.category)
        for part in scoring.parts_of(one.scores):
            for metric in scoring.metric:
                value, *_ = value_of(metric, part, one.test, one.scores)
                key = (one.step, task, one.category, metric, part, str(one.given))
                rows.append((*key, value))
    columns = ["step", "task", "category", "metric", "part", "given", "value"]
    return pd.DataFrame(rows, columns=columns)


SCORED = ["step", "task", "category", "image", "defect", "label", "routed"]
SCORED += ["part", "given", "score"]


@table
@of_any_model
@of_any_stream
def image_scores(run: Run, *, scoring: Scoring = Scoring()) -> pd.DataFrame:
    """Score every test image under every snapshot that knows it.

    Args:
        run: One run, or many.
        scoring: How to score.

    Returns:
        One row per `step task category image defect label routed part given`, with its
        `score`; `routed` is the category it was scored under.

    Example:
        >>> image_scores(run).query("label == 1")["defect"].unique().tolist()
        ['blot']
    """
    # What does not depend on metric, nor on who else is asked for, is measured once.
    parts = {frozenset(PARTS), frozenset({"product"})}
    is_whole = run.config.is_flow or frozenset(scoring.part) in parts
    part = PARTS if is_whole else scoring.part
    told = dataclasses.replace(scoring, metric="image_auroc", part=part)
    classes = [dataclasses.replace(told, given=given) for given in scoring.given]
    rows = pd.concat([_image_scores(run, scoring=one) for one in classes])
    asked = rows["part"].isin(scoring.part)
    return rows.loc[asked, SCORED].reset_index(drop=True)


@table
@of_any_model
@of_any_stream
def _image_scores(run: Run, *, scoring: Scoring) -> pd.DataFrame:
    """The columns `SCORED` of all parts, under one class."""
    frames = []
    for one in scored(run, scoring):
        known = np.array(run[one.step].categories)
        samples = one.test.samples
        base = pd.DataFrame(
            {
                "step": one.step,
                "task": task_of(run, one.category),
                "category": one.category,
                "image": samples["image_path"].map(short_path),
                "defect": samples["defect"],
                "label": samples["label"],
                "routed": known[one.scores.classes.numpy()],
            }
        )
        for part in scoring.parts_of(one.scores):
            scores = one.scores.image(part).cpu().numpy()
            frames.append(base.assign(part=part, given=str(one.given), score=scores))
    return pd.concat(frames, ignore_index=True)


@table
@of_any_model
@of_any_stream
def pixel_wins(
    run: Run,
    *,
    part: str = "product",
    steps: Sequence[int] | None = None,
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """Count wins of defective pixels over normal ones, pair by pair.

    How often a defective pixel of one test image outscores a normal one of another.

    Pixel AUROC over any resample of images is a weighted mean of these, so its
    bootstrap needs no pixels.

    Args:
        run: One run, or many.
        part: Score part.
        steps: Indices of the last task learned; all by default.
        scoring: How to make the maps, under the true class.

    Returns:
        One row per `step task category image other`, with `pairs` (number of pixel
        pairs) and `wins` (ties half).

    Example:
        >>> won = pixel_wins(run, steps=(1,))
        >>> bool((won["wins"] <= won["pairs"]).all())
        True
    """
    frames = []
    told = dataclasses.replace(under_true_class(scoring), part=part)
    for one in scored(run, told, steps=steps):
        if not is_defined("pixel_auroc", one.test):
            continue
        maps = one.scores.maps(part).cpu().numpy()
        masks = true_masks(one.test, maps.shape[1:])
        if not masks.any():
            continue
        wins, pairs = intervals.pixel_wins(masks, maps)
        image, other = np.nonzero(pairs)
        columns = {
            "step": one.step,
            "task": task_of(run, one.category),
            "category": one.category,
            "image": image,
            "other": other,
            "pairs": pairs[image, other],
            "wins": wins[image, other],
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


# ---- what became of each task


@of_tables
@of_any_model
@of_any_stream
def forgetting_table(
    runs: Run | Iterable[Run],
    *,
    metric: str = "image_auroc",
    part: str = "product",
    scoring: Scoring = Scoring(),
    resampling: Resampling = Resampling(n_resamples=2000),
) -> pd.DataFrame:
    """Signed change of each task since it was learned.

    With a paired bootstrap interval.

    Both scores of an image are resampled together, within category and label; seeds are
    averaged. On a stream without boundaries a task is learned once its own window is
    over, when each of its categories has come, and at least half of its images.

    Args:
        runs: Runs of one strategy that differ in their seeds.
        metric: `image_auroc` or `pixel_auroc`.
        part: Score part.
        scoring: How to make the scores, under the true class.
        resampling: Of the test images.

    Returns:
        One row per task, and the average over all but the last (`task` = "average"):
        `task categories learned final change low high`. A negative change is a loss.

    Example:
        >>> forgetting_table([run])["task"].tolist()
        ['0', '1', 'average']
    """
    runs = several_runs(forgetting_table, runs)
    refuse_unlike_runs(runs)
    known = {"image_auroc": _image_resamples, "pixel_auroc": _pixel_resamples}
    refuse_unknown("metric of an interval", metric, known)
    refuse_unknown("part", part, PARTS)
    n = resampling.n_resamples
    samples = [known[metric](run, part, scoring, n) for run in runs]
    per_task = _mean_over_runs(samples)
    confidence = resampling.confidence
    names = [", ".join(categories) for categories in runs[0].tasks]
    rows = []
    for task, pair in enumerate(per_task):
        rows.append(forgetting_row(str(task), pair, confidence))
    if len(per_task) > 1:
        average = per_task[:-1].mean(axis=0)
        rows.append(forgetting_row("average", average, confidence))
        names.append("all but the last")
    columns = ["task", "learned", "final", "change", "low", "high"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(1, "categories", names)
    return frame


def _mean_over_runs(per_run: list[np.ndarray]) -> np.ndarray:
    if len({samples.shape for samples in per_run}) > 1:
        raise ValueError(
            "Expected runs over the same stream; got streams of different lengths."
        )
    return np.mean(per_run, axis=0)


def _image_resamples(
    run: Run, part: str, scoring: Scoring, n_resamples: int
) -> np.ndarray:
    """Image AUROC when learned and at the end, resampled.

    (tasks, 2, 1 + n_resamples).

    The estimate comes first.
    """
    told = under_true_class(scoring)
    rows = chosen(image_scores(run, scoring=told), part=part)

    def auroc(step: int, category: str, seed: list[int]) -> np.ndarray:
        images = rows[(rows["step"] == step) & (rows["category"] == category)]
        labels = images["label"].to_numpy()
        scores = images["score"].to_numpy()
        if len(set(labels)) < 2:
            return np.full(1 + n_resamples, math.nan)
        samples = intervals.bootstrap_auroc_samples(
            labels, scores, n_resamples=n_resamples, random_state=seed
        )
        return np.concatenate([[metrics.image_auroc(labels, scores)], samples])

    return _paired(run, auroc)


def _pixel_resamples(
    run: Run, part: str, scoring: Scoring, n_resamples: int
) -> np.ndarray:
    """As `_image_resamples`, of pixel AUROC."""
    rows = pixel_wins(run, part=part, scoring=scoring)

    def auroc(step: int, category: str, seed: list[int]) -> np.ndarray:
        found = rows[(rows["step"] == step) & (rows["category"] == category)]
        if not len(found):
            return np.full(1 + n_resamples, math.nan)
        n = max(found["image"].max(), found["other"].max()) + 1
        wins = np.zeros((n, n))
        pairs = np.zeros((n, n))
        wins[found["image"], found["other"]] = found["wins"]
        pairs[found["image"], found["other"]] = found["pairs"]
        samples = intervals.bootstrap_wins_samples(
            wins, pairs, n_resamples=n_resamples, random_state=seed
        )
        return np.concatenate([[wins.sum() / pairs.sum()], samples])

    return _paired(run, auroc)


def _paired(run: Run, auroc: Callable[[int, str, list[int]], np.ndarray]) -> np.ndarray:
    """Means over a task's categories, at its own step and the last."""
    last = len(run) - 1
    out = []
    for task, names in enumerate(run.tasks):
        seeds = [[task, i] for i in range(len(names))]
        pair = []
        for step in (min(task, last), last):
            values = [auroc(step, name, seed) for name, seed in zip(names, seeds)]
            whole = [one for one in values if not np.isnan(one).any()]
            pair.append(np.mean(whole or values, axis=0))
        out.append(pair)
    return np.array(out)
