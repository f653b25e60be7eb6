"""Runs in, long-form tables out: what each snapshot scores on each category, and what
became of it since.
"""

__all__ = ["evaluate", "forgetting_table", "image_scores", "pixel_wins"]

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import intervals, metrics
from analysis.detection.conclude import forgetting_row
from analysis.experiments import table
from analysis.rows import chosen
from analysis.scoring import METRICS, scored, task_of, true_masks
from cl_flow.runs.run import Run
from cl_flow.scoring.scores import PARTS

# ---- the decorator


# ---- scores of snapshots


@table
def evaluate(
    run: Run,
    *,
    metric: Sequence[str] = ("image_auroc", "pixel_auroc"),
    part: Sequence[str] = PARTS,
    given: Sequence[str | None] = ("category",),
    normalise: str = "train",
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """Every metric of every snapshot on the test images of every category it knows.

    Args:
        run: One run, or many.
        metric: Names in `METRICS`.
        part: Score parts: `logp`, `entropy`, `product` (HGAD's score).
        given: `"category"` (the true class is given, as in HGAD), None (routed to the
            likeliest class), or both.
        normalise: `"train"` (pointwise) or `"set"` (the published protocol, see
            `cl_flow.scoring.scores`).
        size: Side of the maps in pixels; None is the image size, 256 at most.
        sigma: Smoothing of the maps in pixels.

    Returns:
        One row per `step task category metric part given`, with its `value`.
    """
    unknown = sorted(set(metric) - set(METRICS))
    if unknown:
        raise KeyError(
            f"Unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}."
        )
    rows = []
    for step, category, choice, test, scores in scored(
        run, given, normalise, size, sigma
    ):
        masks = (
            true_masks(test, scores.logp.shape[1:])
            if any(name[:5] != "image" for name in metric)
            else None
        )
        labels = test.samples["label"].to_numpy()
        for name in part:
            maps, image = scores.maps(name).numpy(), scores.image(name).numpy()
            for key in metric:
                value = (
                    METRICS[key](labels, image)
                    if key[:5] == "image"
                    else METRICS[key](masks, maps)
                )
                rows.append(
                    (
                        step,
                        task_of(run, category),
                        category,
                        key,
                        name,
                        str(choice),
                        value,
                    )
                )
    return pd.DataFrame(
        rows, columns=["step", "task", "category", "metric", "part", "given", "value"]
    )


@table
def image_scores(
    run: Run,
    *,
    part: Sequence[str] = PARTS,
    given: Sequence[str | None] = ("category",),
    normalise: str = "train",
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """The image score of every test image under every snapshot that knows its category.

    The options are those of `evaluate`.

    Returns:
        One row per `step task category image defect label routed part given`, with its
        `score`; `routed` is the category it was scored under.
    """
    frames = []
    for step, category, choice, test, scores in scored(
        run, given, normalise, size, sigma
    ):
        known = np.array(run[step].categories)
        base = pd.DataFrame(
            {
                "step": step,
                "task": task_of(run, category),
                "category": category,
                "image": test.samples["image_path"].map(
                    lambda path: "/".join(Path(path).parts[-2:])
                ),
                "defect": test.samples["defect"],
                "label": test.samples["label"],
                "routed": known[scores.classes.numpy()],
            }
        )
        frames += [
            base.assign(part=name, given=str(choice), score=scores.image(name).numpy())
            for name in part
        ]
    return pd.concat(frames, ignore_index=True)


@table
def pixel_wins(
    run: Run,
    *,
    part: str = "product",
    steps: Sequence[int] | None = None,
    normalise: str = "train",
    size: int | None = None,
    sigma: float = 4.0,
) -> pd.DataFrame:
    """For each pair of test images, how often a defective pixel of one outscores a
    normal pixel of the other.

    Pixel AUROC over any resample of images is a weighted mean of these, so its
    bootstrap needs no pixels.

    Returns:
        One row per `step task category image other`, with `pairs` (number of pixel
        pairs) and `wins` (ties half).
    """
    frames = []
    for step, category, _, test, scores in scored(
        run, ("category",), normalise, size, sigma, steps
    ):
        wins, pairs = intervals.pixel_wins(
            true_masks(test, scores.logp.shape[1:]), scores.maps(part).numpy()
        )
        image, other = np.nonzero(pairs)
        frames.append(
            pd.DataFrame(
                {
                    "step": step,
                    "task": task_of(run, category),
                    "category": category,
                    "image": image,
                    "other": other,
                    "pairs": pairs[image, other],
                    "wins": wins[image, other],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


# ---- from scores to conclusions


def forgetting_table(
    runs: Run | Iterable[Run],
    *,
    metric: str = "image_auroc",
    part: str = "product",
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """What became of each task since it was learnt: signed change, with a paired
    bootstrap interval over test images.

    Both scores of an image are resampled together, within category and label; seeds are
    averaged.

    Args:
        runs: Runs of one strategy that differ in their seeds.
        metric: `image_auroc` or `pixel_auroc`.
        part: Score part.
        n_resamples: Bootstrap resamples.
        confidence: Of the interval.

    Returns:
        One row per task, and the average over all but the last (`task` = "average"):
        `task categories learned final change low high`. A negative change is a loss.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    resampled = {"image_auroc": _image_resamples, "pixel_auroc": _pixel_resamples}
    if metric not in resampled:
        raise KeyError(
            f"Unknown metric {metric!r} for an interval; known: {', '.join(resampled)}."
        )
    per_task = _mean_over_runs(
        [resampled[metric](run, part, n_resamples) for run in runs]
    )
    rows = [forgetting_row(str(t), pair, confidence) for t, pair in enumerate(per_task)]
    if len(per_task) > 1:
        rows.append(
            forgetting_row("average", np.mean(per_task[:-1], axis=0), confidence)
        )
    frame = pd.DataFrame(
        rows, columns=["task", "learned", "final", "change", "low", "high"]
    )
    names = [", ".join(names) for names in runs[0].tasks] + ["all but the last"] * (
        len(per_task) > 1
    )
    frame.insert(1, "categories", names)
    return frame


def _image_resamples(run: Run, part: str, n_resamples: int) -> np.ndarray:
    """(tasks, 2, 1 + resamples): image AUROC just after learning and at the end; the
    estimate comes first.
    """
    rows = chosen(image_scores(run), part=part)

    def auroc(step: int, category: str, seed: list[int]) -> np.ndarray:
        images = rows[(rows["step"] == step) & (rows["category"] == category)]
        labels, values = images["label"].to_numpy(), images["score"].to_numpy()
        samples = intervals.bootstrap_auroc_samples(
            labels, values, n_resamples=n_resamples, random_state=seed
        )
        return np.concatenate([[metrics.image_auroc(labels, values)], samples])

    return _paired(run, auroc)


def _pixel_resamples(run: Run, part: str, n_resamples: int) -> np.ndarray:
    rows = pixel_wins(run, part=part)

    def auroc(step: int, category: str, seed: list[int]) -> np.ndarray:
        pairs = rows[(rows["step"] == step) & (rows["category"] == category)]
        n = max(pairs["image"].max(), pairs["other"].max()) + 1
        wins, counts = np.zeros((n, n)), np.zeros((n, n))
        wins[pairs["image"], pairs["other"]] = pairs["wins"]
        counts[pairs["image"], pairs["other"]] = pairs["pairs"]
        samples = intervals.bootstrap_wins_samples(
            wins, counts, n_resamples=n_resamples, random_state=seed
        )
        return np.concatenate([[wins.sum() / counts.sum()], samples])

    return _paired(run, auroc)


def _paired(run: Run, auroc: Callable[[int, str, list[int]], np.ndarray]) -> np.ndarray:
    last, out = len(run) - 1, []
    for task, names in enumerate(run.tasks):
        seeds = [[task, i] for i in range(len(names))]
        pair = [
            [auroc(step, name, seed) for name, seed in zip(names, seeds)]
            for step in (min(task, last), last)
        ]
        out.append(np.mean(pair, axis=1))
    return np.stack(out)


def _mean_over_runs(per_run: list[np.ndarray]) -> np.ndarray:
    if len({samples.shape for samples in per_run}) > 1:
        raise ValueError(
            "Expected runs over the same stream; got streams of different lengths."
        )
    return np.mean(per_run, axis=0)
