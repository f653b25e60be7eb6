"""The slow check of samples.

Open every image and every mask before an hour of training does.
"""

__all__ = ["validate"]

import warnings
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pandas as pd

from cl_flow.data.images import n_pages, read_image, read_mask
from cl_flow.progress import Bar

SHOWN = 10


def validate(samples: pd.DataFrame, *, progress: bool = True) -> None:
    """Decode every image and mask of `samples`.

    The loaders look at names only.

    Args:
        samples: One row per image, as a dataset function returns it.
        progress: Show a progress bar.

    Warns:
        UserWarning: Masks of defects that are black or white all over, and images of
            several pages, of which the first is read.

    Raises:
        ValueError: If an image or a mask is missing, cut short, no image, or if a mask
            is not of its image's size; or if a training image is among the test ones.
            It says how many rows are wrong, and names the first ten.
    """
    pairs = zip(samples["image_path"], samples["mask_path"], strict=True)
    rows = Bar(
        pairs,
        total=len(samples),
        desc="Opening images",
        unit="image",
        disable=not progress,
    )
    problems = []
    doubts = []
    for image, mask in rows:
        try:
            doubts += _doubts(image, mask)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    problems = problems or _trained_and_tested(samples)
    if doubts:
        shown = _shown(doubts)
        warnings.warn(
            f"{len(doubts)} files are not what one expects:{shown}", stacklevel=2
        )
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        raise ValueError(
            f"Expected {len(samples)} readable samples; got {len(problems)} that are "
            f"not:{_shown(problems)}"
        )


def _shown(lines: list[str]) -> str:
    """The first few, a line each."""
    more = len(lines) - SHOWN
    last = [f"… and {more} more"] if more > 0 else []
    return "".join(f"\n  {line}" for line in [*lines[:SHOWN], *last])


def _doubts(image_path: str, mask_path: str) -> Iterator[str]:
    """What is strange about an image and its mask, though both can be read."""
    mask = read_mask(mask_path, read_image(image_path).size)
    if mask_path and not mask.any():
        yield f"a mask without a defect: {mask_path}"
    if mask.all():
        yield f"a mask that is a defect all over: {mask_path}"
    pages = n_pages(image_path)
    if pages > 1:
        yield f"{pages} pages, of which the first is read: {image_path}"


def _trained_and_tested(samples: pd.DataFrame) -> list[str]:
    """Test images that are a training image of their category, byte for byte."""
    digests = [
        blake2b(Path(path).read_bytes()).hexdigest() for path in samples["image_path"]
    ]
    keyed = samples.assign(digest=digests)
    trained = keyed[keyed["split"] == "train"].drop_duplicates(["category", "digest"])
    tested = keyed[keyed["split"] == "test"]
    both = tested.merge(trained, on=["category", "digest"], suffixes=("", "_before"))
    return [
        f"Expected test images that are not trained on; got {row.image_path}, which is "
        f"{row.image_path_before}"
        for row in both.itertuples()
    ]
