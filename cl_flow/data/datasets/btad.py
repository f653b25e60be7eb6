"""BTAD, the beanTech anomaly detection dataset.

Three industrial products, normal images in folders named `ok`.
"""

__all__ = ["CATEGORIES", "btad"]

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.folder import Layout, read_tree

CATEGORIES = ("01", "02", "03")


@DATASETS
def btad(root: str | Path, *, categories: Iterable[str] = CATEGORIES) -> pd.DataFrame:
    """Read BTAD, whose normal images lie in folders named `ok`.

    `<category>/train/ok`, `<category>/test/{ok,ko}` and masks in
    `<category>/ground_truth/ko`.

    References:
        VT-ADL: A vision transformer network for image anomaly detection and
        localization (Mishra et al., 2021)
        https://arxiv.org/abs/2104.10036

    Args:
        root: The folder that holds `01`, `02` and `03` (the archive calls it
            `BTech_Dataset_transformed`).
        categories: Names of the categories to read; default all three.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As
            `cl_flow.data.datasets.folder.read_tree`.
    """
    return read_tree(
        root, dataset="btad", categories=categories, layout=Layout(normal="ok")
    )
