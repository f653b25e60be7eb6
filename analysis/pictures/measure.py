"""Images to look at, and their anomaly maps under every snapshot."""

__all__ = ["examples", "measure_maps", "read_pictures"]

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.experiments import of_any_model, of_any_stream, table
from analysis.rows import of_tables
from analysis.scoring import Scored, Scoring, scored, short_path, task_of, value_of
from cl_flow.calls import checked
from cl_flow.data.features import Features
from cl_flow.data.images import read_image, read_mask
from cl_flow.runs.run import Run


@of_tables
def examples(
    samples: pd.DataFrame, tasks: Sequence[Sequence[str]], *, per_category: int = 4
) -> pd.DataFrame:
    """Images to look at.

    Of each category, in order of arrival, a normal test image and one of each kind of
    defect.

    Args:
        samples: One row per image.
        tasks: The categories of each task.
        per_category: Images of each category, at most.

    Returns:
        One row per image: `task category defect image mask`, images (H, W, 3) in 8 bit,
        masks (H, W) boolean.

    Example:
        >>> sheet = examples(plan.samples(), plan.tasks, per_category=2)
        >>> sheet["defect"].unique().tolist()
        ['good', 'blot']
    """
    rows = []
    for task, names in enumerate(tasks):
        for category in names:
            test = samples[
                (samples["split"] == "test") & (samples["category"] == category)
            ]
            chosen = test.drop_duplicates("defect").sort_values("label", kind="stable")[
                :per_category
            ]
            for row in chosen.itertuples():
                image = np.asarray(read_image(row.image_path))
                mask = read_mask(row.mask_path, image.shape[1::-1])
                rows.append((task, category, row.defect, image, mask))
    return pd.DataFrame(rows, columns=["task", "category", "defect", "image", "mask"])


@checked
def read_pictures(run: Run, image: Sequence[str]) -> pd.DataFrame:
    """Photographs of test images, and the outlines of their defects.

    Args:
        run: Whose images they are.
        image: As for `measure_maps`.

    Returns:
        One row per image: `name category defect image mask`, images (H, W, 3) in 8 bit,
        masks (H, W) boolean.

    Raises:
        KeyError: An image or a category that the run does not have.

    Example:
        >>> read_pictures(run, [run.tasks[0][0]])["image"][0].shape
        (32, 32, 3)
    """
    test = run.features.where(split="test")
    rows = []
    for at in _positions(test, image):
        row = test.samples.iloc[at]
        picture = np.asarray(read_image(row["image_path"]))
        mask = read_mask(row["mask_path"], picture.shape[1::-1])
        rows.append((_name(row), row["category"], row["defect"], picture, mask))
    return pd.DataFrame(rows, columns=["name", "category", "defect", "image", "mask"])


@table
@of_any_model
@of_any_stream
def measure_maps(
    run: Run,
    *,
    image: Sequence[str],
    part: Sequence[str] = ("product",),
    given: str | None = "category",
    steps: Sequence[int] | None = None,
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """Anomaly maps of test images under every snapshot that knows them.

    How to read it: `rarity` is −log10 of the share of pixels of the category's normal
    test images that score as high, under the same model: 2 is a pixel that one of a
    hundred normal ones exceeds. It compares maps of models whose scores differ in
    scale, and it is what AUROC goes by.

    Args:
        run: One run, or many.
        image: Names `category/defect/file` as `pick_images` gives them, or a category
            for all of its test images.
        part: Score parts.
        given: `"category"`, or None to score under the likeliest class.
        steps: Indices of the last task learned; all by default.
        scoring: How to make the maps; its `part` and `given` are those above.

    Returns:
        One row per `step task category name defect label part given`, with the image's
        `score`, its category's image `auroc`, and the maps `map` and `rarity`, each as
        its `height`·`width` numbers row by row. `rarity` is NaN where a category has no
        normal test images.

    Raises:
        KeyError: An image or a category that the run does not have.

    Example:
        >>> category = run.tasks[0][0]
        >>> maps = measure_maps(run, image=[category], steps=(0, 1))
        >>> maps["step"].unique().tolist()
        [0, 1]
    """
    choice = {"part": tuple(part), "given": (given,)}
    scoring = dataclasses.replace(scoring, metric="image_auroc", **choice)
    samples = run.features.where(split="test")
    wanted = samples.samples.iloc[_positions(samples, image)]
    names = set(map(_name, wanted.to_dict("records")))
    categories = list(wanted["category"].unique())
    rows = []
    for one in scored(run, scoring, steps=steps, categories=categories):
        for name in scoring.parts_of(one.scores):
            rows += _rows_of_maps(run, one, name, names)
    return pd.DataFrame(rows)


def _rows_of_maps(
    run: Run, one: Scored, part: str, names: set[str]
) -> list[dict[str, object]]:
    maps = one.scores.maps(part).cpu().numpy()
    labels = one.test.samples["label"].to_numpy()
    auroc, *_ = value_of("image_auroc", part, one.test, one.scores)
    normal = np.sort(maps[labels == 0], axis=None)
    rows = []
    for at, row in enumerate(one.test.samples.to_dict("records")):
        if _name(row) not in names:
            continue
        rows.append(
            {
                "step": one.step,
                "task": task_of(run, one.category),
                "category": one.category,
                "name": _name(row),
                "defect": row["defect"],
                "label": row["label"],
                "part": part,
                "given": str(one.given),
                "score": float(maps[at].max()),
                "auroc": auroc,
                "height": maps.shape[1],
                "width": maps.shape[2],
                "map": maps[at].ravel(),
                "rarity": _rarity(maps[at], normal).ravel(),
            }
        )
    return rows


def _rarity(values: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """−log10 of the share of normal pixels that score as high; half a pixel at least.

    Args:
        values: Scores of any shape.
        normal: Scores of normal pixels in ascending order.
    """
    if not len(normal):
        return np.full(values.shape, np.nan, np.float32)
    below = np.searchsorted(normal, values)
    share = np.maximum(len(normal) - below, 0.5) / len(normal)
    return -np.log10(share).astype(np.float32)


def _positions(test: Features, wanted: Sequence[str]) -> list[int]:
    """Where test images stand that are named, or whose category is."""
    names = [_name(row) for row in test.samples.to_dict("records")]
    categories = test.samples["category"].tolist()
    unknown = set(wanted) - set(names) - set(categories)
    if unknown:
        known = ", ".join([*test.categories, names[0], "…"])
        raise KeyError(
            f"Unknown image {', '.join(map(repr, sorted(unknown)))}; known: {known}."
        )
    pairs = zip(names, categories)
    return [
        i for i, (name, kind) in enumerate(pairs) if name in wanted or kind in wanted
    ]


def _name(row: pd.Series | dict) -> str:
    """Name of an image: its category, its last folder and its file."""
    return f"{row['category']}/{short_path(row['image_path'])}"
