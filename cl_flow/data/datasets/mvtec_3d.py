"""MVTec 3D-AD, its photographs only.

Ten categories, images in folders `rgb` beside their masks in `gt`.
"""

__all__ = ["CATEGORIES", "mvtec_3d"]

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.folder import Layout, read_tree

CATEGORIES = (
    "bagel",
    "cable_gland",
    "carrot",
    "cookie",
    "dowel",
    "foam",
    "peach",
    "potato",
    "rope",
    "tire",
)


@DATASETS
def mvtec_3d(
    root: str | Path, *, categories: Iterable[str] = CATEGORIES
) -> pd.DataFrame:
    """Read the photographs of MVTec 3D-AD.

    `<category>/train/good/rgb`, `<category>/test/<defect>/rgb` and `…/gt`.

    The point clouds (`xyz`), the split `validation` and the all-black masks of normal
    images are passed over.

    References:
        The MVTec 3D-AD dataset for unsupervised 3D anomaly detection and localization
        (Bergmann et al., 2022)
        https://arxiv.org/abs/2112.09045

    Args:
        root: The folder that holds the ten categories.
        categories: Names of the categories to read; default all ten.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As
            `cl_flow.data.datasets.folder.read_tree`.
    """
    layout = Layout(images="{split}/{defect}/rgb", masks="test/{defect}/gt")
    return read_tree(root, dataset="mvtec_3d", categories=categories, layout=layout)
