"""VisA, the visual anomaly dataset.

Twelve categories, split by a table that names every image and mask.
"""

__all__ = ["CATEGORIES", "visa"]

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.folder import chosen, folder_at, to_samples

CATEGORIES = (
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
)
SPLIT = "split_csv/1cls.csv"
TREE = f"{SPLIT} and the images it names, such as candle/Data/Images/Normal/0000.JPG"
VALUES = {"split": ("train", "test"), "label": ("normal", "anomaly")}


@DATASETS
def visa(root: str | Path, *, categories: Iterable[str] = CATEGORIES) -> pd.DataFrame:
    """Read VisA as its authors publish it.

    With their one-class split, `split_csv/1cls.csv`.

    The split knows one kind of defect, `"anomaly"`. Masks number the defects from 1:
    any pixel but 0 is a defect.

    References:
        SPot-the-Difference self-supervised pre-training for anomaly detection and
        segmentation (Zou et al., 2022)
        https://arxiv.org/abs/2207.14315

    Args:
        root: The folder that holds `split_csv` and the twelve categories.
        categories: Names of the categories to read; default all twelve.

    Raises:
        FileNotFoundError: If the root, the split, or an image or mask that it names is
            missing.
        NotADirectoryError: If the root is a file.
        ValueError: If a category is unknown, or the split is no table of object, split,
            label, image and mask.
    """
    root = folder_at(root, expected=TREE)
    split = _read_split(root)
    names = chosen(categories, known=sorted(set(split["object"])), where=root / SPLIT)
    rows = split[split["object"].isin(names)]
    return to_samples(
        [_row(root, *cells) for cells in rows.itertuples(index=False)], dataset="visa"
    )


def _read_split(root: Path) -> pd.DataFrame:
    path = root / SPLIT
    if not path.is_file():
        raise FileNotFoundError(f"Expected {TREE} in {root}; got no file {path}")
    split = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = ["object", "split", "label", "image", "mask"]
    if missing := [name for name in columns if name not in split]:
        raise ValueError(
            f"Expected the columns {', '.join(columns)}; got none named "
            f"{', '.join(missing)}: {path}"
        )
    for column, values in VALUES.items():
        if strange := sorted(set(split[column]) - set(values)):
            raise ValueError(
                f"Expected {' or '.join(values)} in the column {column}; got "
                f"{strange[0]!r}: {path}"
            )
    if ((split["split"] == "train") & (split["label"] == "anomaly")).any():
        raise ValueError(
            f"Expected only normal images in the split train; got an anomaly: {path}"
        )
    return split[columns]


def _row(
    root: Path, category: str, split: str, label: str, image: str, mask: str
) -> tuple[str, str, str, str, str]:
    defect, mask = ("good", "") if label == "normal" else ("anomaly", mask)
    if not (root / image).is_file():
        raise FileNotFoundError(
            f"Expected the image that {root / SPLIT} names; got no file {root / image}"
        )
    if label == "anomaly" and not (mask and (root / mask).is_file()):
        got = f"no file {root / mask}" if mask else "no name"
        raise FileNotFoundError(
            f"Expected a mask for the defect in {root / image}, named in "
            f"{root / SPLIT}; got {got}"
        )
    return category, split, defect, str(root / image), str(root / mask) if mask else ""
