"""Conclusions on expansion: drops, terms and the slides' table."""

__all__ = ["expansion_drops", "expansion_table", "expansion_terms"]

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, defined, mean_weights, resampled
from analysis.intervals import Resampling
from analysis.rows import alike, matching


@alike
def expansion_drops(
    expanded: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    """Change of image AUROC by each expansion, with its interval.

    It is a paired bootstrap over test images.

    How to read it: a negative change is a loss; [0, 0] says that no image's rank
    changed, not that few did.

    Args:
        expanded: A table of `expansion`, of one run or several seeds.
        resampling: Of the test images.

    Returns:
        One row per `placement entropy given part added category`, the mean over
        categories included (`category` = "mean"): `before after change low high`.

    Example:
        >>> from analysis.expansion import measure_expansion
        >>> drops = expansion_drops(measure_expansion(run))
        >>> kept = drops.query("part == 'logp' and placement == 'tile'")
        >>> float(kept["change"].abs().max())
        0.0
    """
    rows = defined(matching(expanded, metric="image_auroc"))
    samples = resampled(rows, resampling)
    keys = ["placement", "entropy", "given", "part"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        categories = group.groupby("category", sort=False)
        for category, one in [*categories, ("mean", group)]:
            drops = _drops(one, samples[one.index], resampling)
            out += [(*key, added, category, *drop) for added, *drop in drops]
    values = ["before", "after", "change", "low", "high"]
    return pd.DataFrame(out, columns=[*keys, "added", "category", *values])


def _drops(
    rows: pd.DataFrame,
    samples: np.ndarray,
    resampling: Resampling,
) -> Iterator[tuple[float, ...]]:
    """Mean AUROC before and after each number of added classes, and its change."""
    before = (rows["added"] == 0).to_numpy()
    level = rows.loc[before, "value"].mean()
    for added in rows.loc[~before, "added"].unique():
        after = (rows["added"] == added).to_numpy()
        weights = (after * 1.0 - before) / before.sum()
        change = contrast(weights, samples, resampling)
        yield added, level, rows.loc[after, "value"].mean(), *change


@alike
def expansion_terms(
    expanded: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Split the change under HGAD's tiling into more classes and placement.

    total = A(tile, K+n) − A(K); more classes = A(orthogonal, K+n) − A(K), where every
    new center is as far from the old ones as those are from each other; placement =
    A(tile, K+n) − A(orthogonal, K+n).

    Args:
        expanded: A table of `expansion` with the placements `tile` and `orthogonal`.
        part: Score part.
        resampling: Of the test images.

    Returns:
        One row per `added term`: mean change of image AUROC over categories and runs,
        `value low high`.

    Example:
        >>> from analysis.expansion import measure_expansion
        >>> sorted(set(expansion_terms(measure_expansion(run))["term"]))
        ['more classes', 'placement', 'total']
    """
    asked = {"metric": "image_auroc", "entropy": "all", "given": "category"}
    rows = defined(matching(expanded, part=part, **asked))
    missing = {"tile", "orthogonal"} - set(rows["placement"])
    if missing:
        raise ValueError(
            "Expected the placements tile and orthogonal; got no rows with "
            f"{', '.join(sorted(missing))}."
        )
    samples = resampled(rows, resampling)
    before = _mean_of(rows, "tile", 0)
    out = []
    for added in sorted(set(rows["added"]) - {0}):
        tiled = _mean_of(rows, "tile", added)
        spread = _mean_of(rows, "orthogonal", added)
        terms = {
            "total": tiled - before,
            "more classes": spread - before,
            "placement": tiled - spread,
        }
        for name, weights in terms.items():
            interval = contrast(weights, samples, resampling)
            out.append((added, name, *interval))
    return pd.DataFrame(out, columns=["added", "term", "value", "low", "high"])


def _mean_of(
    rows: pd.DataFrame,
    placement: str,
    added: int,
) -> np.ndarray:
    """Weights of the mean over the rows of one expansion."""
    chosen = (rows["placement"] == placement) & (rows["added"] == added)
    return mean_weights(chosen)


@alike
def expansion_table(
    expanded: pd.DataFrame,
    *,
    placement: str = "tile",
    part: str = "product",
) -> pd.DataFrame:
    """AUROC of the first task's categories, just learned and expanded.

    The table has the slides' form, and means over runs.

    Args:
        expanded: A table of `expansion`, with image and pixel AUROC.
        placement: Where the new centers are.
        part: Score part.

    Returns:
        One row per `stage category`: `image_auroc pixel_auroc`.

    Example:
        >>> from analysis.expansion import measure_expansion
        >>> expansion_table(measure_expansion(run))["stage"].unique().tolist()
        ['after_task_1', 'expanded_for_task_2']
    """
    rows = matching(
        expanded,
        placement=placement,
        part=part,
        entropy="all",
        given="category",
    )
    added = sorted(rows["added"].unique())
    stages = dict(zip(added, ("after_task_1", "expanded_for_task_2")))
    staged = rows.assign(stage=rows["added"].map(stages)).dropna(subset="stage")
    keys = ["stage", "category", "metric"]
    means = staged.groupby(keys, sort=False)["value"].mean().unstack()
    return means.rename_axis(columns=None).reset_index()
