"""The rule: what became of a task, from shares of its drop.

Its thresholds were set before anything was measured with it, and are few: what
explains half of a drop names it, a quarter counts as a part, and a word is said if it
also holds in four of five resamples of the test images.
"""

__all__ = ["MOST", "PART", "SURE", "VERDICTS", "words_of"]

import numpy as np
from numpy.typing import ArrayLike

from cl_flow.calls import checked

MOST = 0.5  # of the drop
PART = 0.25  # of the drop
SURE = 0.8  # of the resamples

VERDICTS = {
    "reminded": "it was kept: it comes back by more, or sooner, than in a model that "
    "never knew it",
    "relearned": "it comes back, but by no more, and no sooner, than in a model that "
    "never knew it",
    "lost": "nothing that was tried brings it back",
    "confused": "it is there, and later classes outbid it",
    "mixed": "a part of the drop is one of these, and the rest another",
    "undetermined": "no drop to explain, or too few images to tell",
}


@checked
def words_of(
    drop: ArrayLike, confusion: ArrayLike, kept: ArrayLike, back: ArrayLike
) -> np.ndarray:
    """Name what became of a task, for an estimate or for resamples of it.

    A drop is `mixed` if the competition of later classes explains a part of it and
    what was kept another. Else it is `confused` if the competition explains most of it,
    `reminded` if what was kept does, and again `mixed` if one of them explains no more
    than a part. Where neither explains even that, it is `relearned` if most of it comes
    back, else `lost`.

    Args:
        drop: How far the metric fell, (n,) or a number.
        confusion: Share of it that is gone once later classes no longer compete.
        kept: Share that comes back beyond what a model that never knew the task gets,
            by the witness that finds most.
        back: Share that comes back at all, by the witness that finds most.

    Returns:
        Keys of `VERDICTS`, (n,); `undetermined` where nothing fell, or where a share is
        NaN.

    Example:
        >>> str(words_of(0.3, confusion=0.1, kept=0.8, back=0.9))
        'reminded'
    """
    drop, confusion, kept, back = map(np.asarray, (drop, confusion, kept, back))
    is_known = np.isfinite(confusion + kept + back)
    conditions = [
        ~((drop > 0) & is_known),
        np.minimum(confusion, kept) >= PART,
        confusion >= MOST,
        kept >= MOST,
        np.maximum(confusion, kept) >= PART,
        back >= MOST,
    ]
    words = ["undetermined", "mixed", "confused", "reminded", "mixed", "relearned"]
    return np.select(conditions, words, default="lost")
