"""Images to look at."""

__all__ = ["examples"]

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.rows import of_tables
from cl_flow.data.images import read_image, read_mask


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
