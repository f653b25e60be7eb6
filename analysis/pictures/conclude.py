"""Which images to look at, by their scores."""

__all__ = ["CHOICES", "pick_images"]

import numpy as np
import pandas as pd

from analysis.metrics import share_below
from analysis.rows import alike, chosen, first_and_last

CHOICES = ("most forgotten", "hardest", "by defect")


@alike
def pick_images(
    scores: pd.DataFrame,
    how: str = "most forgotten",
    *,
    n: int = 3,
    category: str | None = None,
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """Choose anomalous test images to look at.

    Args:
        scores: A table of `image_scores`, of one run.
        how: `"most forgotten"`: those that lost most since their task was learned, of
            each category one; `"hardest"`: those that were never told from normal ones;
            `"by defect"`: of each kind of defect the image in the middle.
        n: Images, at most.
        category: Of one category; of all by default.
        part: Score part.
        given: `"category"` or `"None"`.

    Returns:
        One row per image: `category defect image name learned final`, the share of its
        category's normal test images that score lower, when its task was learned and
        under the last model (ties half); `name` is what `measure_maps` takes.

    Raises:
        ValueError: Several runs, another choice, or no image to choose.

    Example:
        >>> from analysis import image_scores
        >>> picked = pick_images(image_scores(run), n=2)
        >>> len(picked), picked["name"].is_unique
        (2, True)
    """
    if how not in CHOICES:
        raise ValueError(f"Expected how of {', '.join(CHOICES)}; got {how!r}.")
    if scores["run"].nunique() > 1:
        names = ", ".join(scores["run"].unique())
        raise ValueError(f"Expected the scores of one run; got {names}.")
    where = {} if category is None else {"category": category}
    rows = chosen(scores, part=part, given=given, **where)
    ranked = _ranked(rows)
    if ranked.empty:
        raise ValueError(
            "Expected anomalous test images, and normal ones beside them; got none."
        )
    ranked = ranked.assign(lost=ranked["learned"] - ranked["final"])
    if how == "most forgotten":
        ranked = ranked.sort_values(["lost", "sank"], ascending=False, kind="stable")
        ranked = ranked if category else ranked.drop_duplicates("category")
    elif how == "hardest":
        ranked = ranked.sort_values(["learned", "stands_out"], kind="stable")
    else:
        ranked = _middle_of_each(ranked)
    ranked["name"] = ranked["category"] + "/" + ranked["image"]
    columns = ["category", "defect", "image", "name", "learned", "final"]
    return ranked[columns].head(n).reset_index(drop=True)


def _ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each anomalous image the share of normal ones below it, first and last.

    `stands_out` is how far above them it scored at first, in their quartile ranges, and
    `sank` how much of that it lost.
    """
    placed = {
        when: pd.concat([_placed(one) for _, one in ends.groupby("category")])
        for when, ends in first_and_last(rows).groupby("when")
    }
    keys = ["category", "defect", "image"]
    both = placed["learnt"].merge(placed["last"], on=keys, suffixes=("", "_final"))
    return both.assign(
        learned=both["wins"],
        final=both["wins_final"],
        stands_out=both["distance"],
        sank=both["distance"] - both["distance_final"],
    )


def _placed(one: pd.DataFrame) -> pd.DataFrame:
    """Anomalous images of a category among its normal ones, under one model."""
    ill = one[one["label"] == 1]
    normal = one.loc[one["label"] == 0, "score"].to_numpy()
    if not len(normal):
        return ill[:0].assign(wins=0.0, distance=0.0)
    spread = np.subtract(*np.percentile(normal, [75, 25])) or 1.0
    return ill.assign(
        wins=share_below(ill["score"], normal),
        distance=(ill["score"] - np.median(normal)) / spread,
    )


def _middle_of_each(ranked: pd.DataFrame) -> pd.DataFrame:
    """Of each kind of defect the image whose place at the end is the middle one."""
    ordered = ranked.sort_values("final", kind="stable")
    kinds = ordered.groupby(["category", "defect"], sort=False)
    middle = [one.iloc[[len(one) // 2]] for _, one in kinds]
    return pd.concat(middle).sort_values(["category", "defect"])
