"""Runs in, long-form tables out: what each snapshot scores on each category, and what became of it since."""

__all__ = [
    "METRICS",
    "beside",
    "evaluate",
    "examples",
    "forgetting_table",
    "image_scores",
    "key_columns",
    "load_reference",
    "pixel_wins",
    "r_matrix",
    "summarise",
    "summarise_forgetting",
    "summary",
    "table",
    "task_table",
    "true_masks",
]

import ast
import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from analysis import continual, intervals, metrics
from cl_flow.features import Features
from cl_flow.flow import pick_device
from cl_flow.images import image_size, read_image, read_mask
from cl_flow.paths import ASSETS, atomic
from cl_flow.run import Run
from cl_flow.score import PARTS, Scores, calibrate, score

METRICS: dict[str, Callable[..., float]] = {
    "image_auroc": metrics.image_auroc,
    "image_ap": metrics.image_ap,
    "pixel_auroc": metrics.pixel_auroc,
    "pixel_ap": metrics.pixel_ap,
    "aupro": metrics.aupro,
}


# ---- the decorator


def table(function: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Lift `Run -> DataFrame` to one run or many, add the key columns `run strategy seed`, and cache beside each run.

    The cache (Parquet, in the run's `tables/`) is keyed by the options, by the training itself, and by a hash of the
    source that the function depends on: what is stale is computed anew, what is not costs milliseconds.
    """

    @functools.wraps(function)
    def lifted(runs: Run | Iterable[Run], **options: Any) -> pd.DataFrame:
        runs = [runs] if isinstance(runs, Run) else list(runs)
        if not runs:
            raise ValueError("Expected at least one run; got none.")
        bound = inspect.signature(function).bind(None, **options)
        bound.apply_defaults()
        options = {name: value for name, value in bound.arguments.items() if name != next(iter(bound.arguments))}
        frames = [key_columns(_cached(function, run, options), run) for run in runs]
        return pd.concat(frames, ignore_index=True)

    return lifted


def key_columns(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The frame with the columns `run strategy seed` in front."""
    keys = pd.DataFrame({"run": run.name, "strategy": run.strategy, "seed": run.seed}, index=frame.index)
    return pd.concat([keys, frame], axis=1)


def _cached(function: Callable[..., pd.DataFrame], run: Run, options: dict[str, Any]) -> pd.DataFrame:
    if not len(run):
        raise ValueError(f"Expected a run with at least one task learnt; got {run!r}. Call fit(run.config) first.")
    facts = run.facts
    identity = [options, facts["begun"], facts["steps"], _source_digest(function.__module__)]
    key = blake2b(json.dumps(identity, sort_keys=True, default=repr).encode()).hexdigest()[:12]
    path = run.folder / "tables" / f"{function.__name__}-{key}.parquet"
    if not path.is_file():
        frame = function(run, **options)
        with atomic(path) as temporary:
            frame.to_parquet(temporary)
    return pd.read_parquet(path)


@functools.cache
def _source_digest(module: str) -> str:
    """Digest of a module's code and, transitively, of the modules of these packages that it imports."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in sys.modules:
            continue
        tree = ast.parse(Path(inspect.getfile(sys.modules[name])).read_text(encoding="utf-8"))
        seen[name] = blake2b(ast.dump(tree).encode()).hexdigest()
        waiting += [found for found in _imports(tree) if found.split(".")[0] in ("analysis", "cl_flow")]
    return blake2b(json.dumps(sorted(seen.items())).encode()).hexdigest()


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
        given: `"category"` (the true class is given, as in HGAD), None (routed to the likeliest class), or both.
        normalise: `"train"` (pointwise) or `"set"` (the published protocol, see `cl_flow.score`).
        size: Side of the maps in pixels; None is the image size, 256 at most.
        sigma: Smoothing of the maps in pixels.

    Returns:
        One row per `step task category metric part given`, with its `value`.
    """
    unknown = sorted(set(metric) - set(METRICS))
    if unknown:
        raise KeyError(f"Unknown metric {', '.join(unknown)}; known: {', '.join(METRICS)}.")
    rows = []
    for step, category, choice, test, scores in _scored(run, given, normalise, size, sigma):
        masks = true_masks(test, scores.logp.shape[1:]) if any(name[:5] != "image" for name in metric) else None
        labels = test.samples["label"].to_numpy()
        for name in part:
            maps, image = scores.maps(name).numpy(), scores.image(name).numpy()
            for key in metric:
                value = METRICS[key](labels, image) if key[:5] == "image" else METRICS[key](masks, maps)
                rows.append((step, _task_of(run, category), category, key, name, str(choice), value))
    return pd.DataFrame(rows, columns=["step", "task", "category", "metric", "part", "given", "value"])


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
        One row per `step task category image defect label routed part given`, with its `score`; `routed` is the
        category it was scored under.
    """
    frames = []
    for step, category, choice, test, scores in _scored(run, given, normalise, size, sigma):
        known = np.array(run[step].categories)
        base = pd.DataFrame(
            {
                "step": step,
                "task": _task_of(run, category),
                "category": category,
                "image": test.samples["image_path"].map(lambda path: "/".join(Path(path).parts[-2:])),
                "defect": test.samples["defect"],
                "label": test.samples["label"],
                "routed": known[scores.classes.numpy()],
            }
        )
        frames += [base.assign(part=name, given=str(choice), score=scores.image(name).numpy()) for name in part]
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
    """For each pair of test images, how often a defective pixel of one outscores a normal pixel of the other.

    Pixel AUROC over any resample of images is a weighted mean of these, so its bootstrap needs no pixels.

    Returns:
        One row per `step task category image other`, with `pairs` (number of pixel pairs) and `wins` (ties half).
    """
    frames = []
    for step, category, _, test, scores in _scored(run, ("category",), normalise, size, sigma, steps):
        wins, pairs = intervals.pixel_wins(true_masks(test, scores.logp.shape[1:]), scores.maps(part).numpy())
        image, other = np.nonzero(pairs)
        frames.append(
            pd.DataFrame(
                {
                    "step": step,
                    "task": _task_of(run, category),
                    "category": category,
                    "image": image,
                    "other": other,
                    "pairs": pairs[image, other],
                    "wins": wins[image, other],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _scored(
    run: Run,
    given: Sequence[str | None],
    normalise: str,
    size: int | None,
    sigma: float,
    steps: Sequence[int] | None = None,
) -> Iterator[tuple[int, str, str | None, Features, Scores]]:
    """Scores of the test images of each category known at each step, under a calibration made for that step."""
    side = size or min(256, run.config.features.image_size)
    features, device = run.features, pick_device()
    chosen = range(len(run)) if steps is None else [step % len(run) for step in steps]
    for step in tqdm(chosen, desc=f"scoring {run.name}", unit="step", leave=False):
        model = run[step].model(device)
        known = features.where(category=list(model.categories))
        calibration = calibrate(model, known.where(split="train", label=0)) if normalise == "train" else normalise
        for category in model.categories:
            test = known.where(split="test", category=category)
            for choice in given:
                scores = score(model, test, calibration, given=choice, size=(side, side), sigma=sigma)
                yield step, category, choice, test, scores


def _task_of(run: Run, category: str) -> int:
    return next(i for i, names in enumerate(run.tasks) if category in names)


def true_masks(test: Features, size: tuple[int, int]) -> np.ndarray:
    """Ground truth (n, H, W) at the size of the maps, by nearest neighbour."""
    return np.stack(
        [_mask(*paths, tuple(size)) for paths in zip(test.samples["image_path"], test.samples["mask_path"])]
    )


@functools.lru_cache(maxsize=4096)
def _mask(image_path: str, mask_path: str, size: tuple[int, int]) -> np.ndarray:
    if not mask_path:
        return np.zeros(size, dtype=bool)
    mask = read_mask(mask_path, image_size(image_path))
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in zip(size, mask.shape))
    return mask[np.ix_(rows.astype(int), columns.astype(int))]


def examples(samples: pd.DataFrame, tasks: Sequence[Sequence[str]], *, per_category: int = 4) -> pd.DataFrame:
    """Images to look at: of each category, in order of arrival, a normal test image and one of each kind of defect.

    Args:
        samples: One row per image.
        tasks: The categories of each task.
        per_category: Images of each category, at most.

    Returns:
        One row per image: `task category defect image mask`, images (H, W, 3) in 8 bit, masks (H, W) boolean.
    """
    rows = []
    for task, names in enumerate(tasks):
        for category in names:
            test = samples[(samples["split"] == "test") & (samples["category"] == category)]
            chosen = test.drop_duplicates("defect").sort_values("label", kind="stable")[:per_category]
            for row in chosen.itertuples():
                image = np.asarray(read_image(row.image_path))
                mask = read_mask(row.mask_path, image.shape[1::-1])
                rows.append((task, category, row.defect, image, mask))
    return pd.DataFrame(rows, columns=["task", "category", "defect", "image", "mask"])


# ---- from scores to conclusions


def r_matrix(
    evaluated: pd.DataFrame, *, metric: str = "image_auroc", part: str = "product", given: str = "category"
) -> np.ndarray:
    """R[t, j] (T, T): the metric on task j after learning task t, a mean over its categories and over runs.

    NaN where the model had no center for a category of the task.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.
    """
    rows = _choose(evaluated, metric=metric, part=part, given=given)
    if rows["strategy"].nunique() > 1:
        raise ValueError(f"Expected runs of one strategy; got {', '.join(sorted(rows['strategy'].unique()))}.")
    means = rows.groupby(["run", "step", "task"])["value"].mean().groupby(["step", "task"]).mean().unstack()
    return means.reindex(index=range(means.index.max() + 1), columns=range(means.columns.max() + 1)).to_numpy()


def forgetting_table(
    runs: Run | Iterable[Run],
    *,
    metric: str = "image_auroc",
    part: str = "product",
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """What became of each task since it was learnt: signed change, with a paired bootstrap interval over test images.

    Both scores of an image are resampled together, within category and label; seeds are averaged.

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
        raise KeyError(f"Unknown metric {metric!r} for an interval; known: {', '.join(resampled)}.")
    per_task = _mean_over_runs([resampled[metric](run, part, n_resamples) for run in runs])
    rows = [_forgetting_row(str(t), pair, confidence) for t, pair in enumerate(per_task)]
    if len(per_task) > 1:
        rows.append(_forgetting_row("average", np.mean(per_task[:-1], axis=0), confidence))
    frame = pd.DataFrame(rows, columns=["task", "learned", "final", "change", "low", "high"])
    names = [", ".join(names) for names in runs[0].tasks] + ["all but the last"] * (len(per_task) > 1)
    frame.insert(1, "categories", names)
    return frame


def _forgetting_row(task: str, pair: np.ndarray, confidence: float) -> tuple[Any, ...]:
    """`pair` (2, 1 + resamples): learned and final, the first column being the estimate itself."""
    change = pair[1] - pair[0]
    interval = intervals.percentile_interval(change[0], change[1:], confidence=confidence)
    return task, pair[0, 0], pair[1, 0], *interval


def _mean_over_runs(per_run: list[np.ndarray]) -> np.ndarray:
    if len({samples.shape for samples in per_run}) > 1:
        raise ValueError("Expected runs over the same stream; got streams of different lengths.")
    return np.mean(per_run, axis=0)


def _image_resamples(run: Run, part: str, n_resamples: int) -> np.ndarray:
    """(tasks, 2, 1 + resamples): image AUROC just after learning and at the end; the estimate comes first."""
    rows = _choose(image_scores(run), part=part)

    def auroc(step: int, category: str, seed: list[int]) -> np.ndarray:
        images = rows[(rows["step"] == step) & (rows["category"] == category)]
        labels, values = images["label"].to_numpy(), images["score"].to_numpy()
        samples = intervals.bootstrap_auroc_samples(labels, values, n_resamples=n_resamples, random_state=seed)
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
        samples = intervals.bootstrap_wins_samples(wins, counts, n_resamples=n_resamples, random_state=seed)
        return np.concatenate([[wins.sum() / counts.sum()], samples])

    return _paired(run, auroc)


def _paired(run: Run, auroc: Callable[[int, str, list[int]], np.ndarray]) -> np.ndarray:
    last, out = len(run) - 1, []
    for task, names in enumerate(run.tasks):
        seeds = [[task, i] for i in range(len(names))]
        pair = [[auroc(step, name, seed) for name, seed in zip(names, seeds)] for step in (min(task, last), last)]
        out.append(np.mean(pair, axis=1))
    return np.stack(out)


def task_table(evaluated: pd.DataFrame, *, part: str = "product", given: str = "category") -> pd.DataFrame:
    """The slides' table: per task, image and pixel AUROC of the last model, and their average.

    Args:
        evaluated: A table of `evaluate`, of runs of one strategy.

    Returns:
        One row per task and one for the average: `task image_auroc pixel_auroc`.
    """
    columns = {
        key: r_matrix(evaluated, metric=key, part=part, given=given)[-1] for key in ("image_auroc", "pixel_auroc")
    }
    frame = pd.DataFrame(columns)
    frame.insert(0, "task", frame.index.astype(str))
    return pd.concat([frame, frame.mean(numeric_only=True).to_frame().T.assign(task="average")], ignore_index=True)


def summary(
    evaluated: pd.DataFrame, *, metric: str = "image_auroc", part: str = "product", given: str = "category"
) -> pd.DataFrame:
    """One row per strategy and seed: final mean, learning score, bwt and forgetting over the tasks.

    Returns:
        `strategy seed final_mean learning_score bwt forgetting`; NaN where a strategy has no R matrix (joint).
    """
    rows = []
    for (strategy, seed), one in evaluated.groupby(["strategy", "seed"], sort=False):
        R = r_matrix(one, metric=metric, part=part, given=given)
        rows.append((strategy, seed, *_conventions(R)))
    return pd.DataFrame(rows, columns=["strategy", "seed", "final_mean", "learning_score", "bwt", "forgetting"])


def _conventions(R: np.ndarray) -> tuple[float, ...]:
    if R.shape[0] == 1 or np.isnan(R[-1]).any():  # one step that learns all tasks, or a fresh model per task
        diagonal = R[-1] if R.shape[0] == 1 else np.diagonal(R)
        return float(np.mean(diagonal)), float(np.mean(diagonal)), np.nan, np.nan
    return continual.final_mean(R), continual.learning_score(R), continual.bwt(R), continual.forgetting(R)


def beside(ours: pd.DataFrame, theirs: pd.DataFrame, *, names: tuple[str, str] = ("ours", "slides")) -> pd.DataFrame:
    """Two tables with the same first column side by side, under two headings.

    Rows are matched by the first column as text, in the order of `ours`; what one table lacks is left empty.
    """
    key = ours.columns[0]
    indexed = [table.assign(**{key: table[key].astype(str)}).set_index(key) for table in (ours, theirs)]
    return pd.concat(dict(zip(names, indexed)), axis=1).reindex(indexed[0].index)


def summarise(evaluated: pd.DataFrame) -> str:
    """A sentence on how the last model of each strategy does on average, from a table of `evaluate`."""
    sentences = []
    for metric, name in (("image_auroc", "image"), ("pixel_auroc", "pixel")):
        means = summary(evaluated, metric=metric).groupby("strategy", sort=False)["final_mean"]
        values = [f"`{key}` {intervals.seed_interval(group).value:.3f}" for key, group in means]
        sentences.append(f"mean {name} AUROC of the last model: {', '.join(values)}")
    n = evaluated["seed"].nunique()
    return f"Over all categories and {n} seed{'s' * (n > 1)}, " + "; ".join(sentences) + "."


def summarise_forgetting(image: pd.DataFrame, pixel: pd.DataFrame) -> str:
    """A sentence on how much was lost and how sure that is, from two tables of `forgetting_table`."""
    parts = []
    for name, frame in (("image", image), ("pixel", pixel)):
        average, tasks = frame.iloc[-1], frame[frame["task"] != "average"].iloc[:-1]
        lost = int((tasks["high"] < 0).sum())
        interval = intervals.Interval(average["change"], average["low"], average["high"])
        parts.append(
            f"{name} AUROC changed by {interval!r} on average; the change is a loss beyond the interval for {lost} of "
            f"{len(tasks)} earlier tasks"
        )
    return "Since they were learnt, " + "; ".join(parts) + "."


def load_reference(name: str) -> pd.DataFrame:
    """A published table to show beside ours, from `data/reference`.

    Args:
        name: File name without suffix, such as `slides_task_table` (its README says where each comes from).
    """
    path = ASSETS / "reference" / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.csv")))
        raise KeyError(f"Unknown reference {name!r}; known: {known}.")
    return pd.read_csv(path)


def _choose(frame: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that hold the given values; what is not there is an error that lists what is."""
    for column, value in values.items():
        chosen = frame[frame[column] == str(value)]
        if chosen.empty:
            raise KeyError(
                f"No rows with {column}={value!r}; there are: {', '.join(map(str, frame[column].unique()))}."
            )
        frame = chosen
    return frame
