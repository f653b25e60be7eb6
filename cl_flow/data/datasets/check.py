"""The slow check of samples.

Open every image and every mask before an hour of training does.
"""

__all__ = ["validate"]

import pandas as pd
from tqdm.auto import tqdm

from cl_flow.data.images import read_image, read_mask

SHOWN = 10


def validate(samples: pd.DataFrame, *, progress: bool = True) -> None:
    """Decode every image and mask of `samples`.

    The loaders look at names only.

    Args:
        samples: One row per image, as a dataset function returns it.
        progress: Show a progress bar.

    Raises:
        ValueError: If an image or a mask is missing, cut short, no image, or if a mask
            is not of its image's size. It says how many rows are wrong, and names the
            first ten.
    """
    pairs = zip(samples["image_path"], samples["mask_path"], strict=True)
    rows = tqdm(
        pairs,
        total=len(samples),
        desc="Opening images",
        unit="image",
        disable=not progress,
    )
    problems = [problem for image, mask in rows if (problem := _problem(image, mask))]
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:SHOWN])
        more = (
            f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        )
        raise ValueError(
            f"Expected {len(samples)} readable samples; got {len(problems)} that are "
            f"not:\n{shown}{more}"
        )


def _problem(image_path: str, mask_path: str) -> str | None:
    try:
        read_mask(mask_path, read_image(image_path).size)
    except (OSError, ValueError) as error:
        return str(error)
    return None
