"""Conclusions on expansion: drops, terms and the slides' table."""

__all__ = ["expansion_drops", "expansion_table", "expansion_terms"]

import numpy as np
import pandas as pd

from analysis.contrasts import contrast, resampled
from analysis.intervals import Resampling


def expansion_drops(
    expanded: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    """Change of image AUROC by each expansion.

    With a paired bootstrap interval over test images.

    How to read it: a negative change is a loss; [0, 0] says that no image's rank
    changed, not that few did.

    Args:
        expanded: A table of `expansion`, of one run or several seeds.
        resampling: Of the test images.

    Returns:
        One row per `placement entropy given part added category`, the mean over
        categories included (`category` = "mean"): `before after change low high`.
    """
    rows = expanded[expanded["metric"] == "image_auroc"].reset_index(drop=True)
    samples = resampled(rows, resampling)
    keys = ["placement", "entropy", "given", "part"]
    out = []
    for key, group in rows.groupby(keys, sort=False):
        for category, chosen in [
            *group.groupby("category", sort=False),
            ("mean", group),
        ]:
            before = (chosen["added"] == 0).to_numpy()
            for added in chosen.loc[~before, "added"].unique():
                after = (chosen["added"] == added).to_numpy()
                interval = contrast(
                    (after * 1.0 - before) / before.sum(),
                    samples[chosen.index],
                    resampling,
                )
                levels = (chosen.loc[when, "value"].mean() for when in (before, after))
                out.append((*key, added, category, *levels, *interval))
    return pd.DataFrame(
        out,
        columns=[
            *keys,
            "added",
            "category",
            "before",
            "after",
            "change",
            "low",
            "high",
        ],
    )


def expansion_terms(
    expanded: pd.DataFrame,
    *,
    part: str = "product",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """The change under HGAD's tiling, split at equal K.

    What more classes cost, and what their placement adds.

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
    """
    chosen = (
        (expanded["metric"] == "image_auroc")
        & (expanded["entropy"] == "all")
        & (expanded["given"] == "category")
    )
    rows = expanded[chosen & (expanded["part"] == part)].reset_index(drop=True)
    missing = {"tile", "orthogonal"} - set(rows["placement"])
    if missing:
        raise ValueError(
            "Expected the placements tile and orthogonal; got no rows with "
            f"{', '.join(sorted(missing))}."
        )
    samples = resampled(rows, resampling)
    out = []
    for added in sorted(set(rows["added"]) - {0}):
        tiled, spread = (_mean_of(rows, name, added) for name in ("tile", "orthogonal"))
        before = _mean_of(rows, "tile", 0)
        terms = {
            "total": tiled - before,
            "more classes": spread - before,
            "placement": tiled - spread,
        }
        out += [
            (added, name, *contrast(weights, samples, resampling))
            for name, weights in terms.items()
        ]
    return pd.DataFrame(out, columns=["added", "term", "value", "low", "high"])


def _mean_of(rows: pd.DataFrame, placement: str, added: int) -> np.ndarray:
    """Weights of the mean over the rows of one expansion."""
    chosen = ((rows["placement"] == placement) & (rows["added"] == added)).to_numpy(
        dtype=float
    )
    return chosen / chosen.sum()


def expansion_table(
    expanded: pd.DataFrame, *, placement: str = "tile", part: str = "product"
) -> pd.DataFrame:
    """The slides' table.

    Each category of the first task just learnt, and expanded for the second; a mean
    over runs.

    Args:
        expanded: A table of `expansion`, with image and pixel AUROC.
        placement: Where the new centers are.
        part: Score part.

    Returns:
        One row per `stage category`: `image_auroc pixel_auroc`.
    """
    rows = expanded[(expanded["placement"] == placement) & (expanded["part"] == part)]
    rows = rows[(rows["entropy"] == "all") & (rows["given"] == "category")]
    stages = dict(
        zip(sorted(rows["added"].unique()), ("after_task_1", "expanded_for_task_2"))
    )
    rows = rows[rows["added"].isin(stages)].assign(stage=rows["added"].map(stages))
    means = (
        rows.groupby(["stage", "category", "metric"], sort=False)["value"]
        .mean()
        .unstack()
    )
    return means.rename_axis(columns=None).reset_index()
