"""Conclusions from scores of images: curves, kinds of defects, routes, thresholds."""

__all__ = ["defect_aurocs", "roc_points", "routes", "thresholds"]

import numpy as np
import pandas as pd

from analysis.metrics import image_auroc, share_below
from analysis.rows import (
    WHEN,
    alike,
    chosen,
    first_and_last,
    refuse_strategies,
    step_of,
)


@alike
def roc_points(
    scores: pd.DataFrame,
    *,
    category: str | None = None,
    part: str = "product",
    given: str = "category",
) -> pd.DataFrame:
    """Points of ROC and precision-recall curves, when learned and under the last model.

    Several categories are pooled by rank: each image's score is replaced by the share
    of its category's normal images that score lower, so that no category's scale
    decides.

    Args:
        scores: A table of `image_scores`, of one strategy.
        category: Of one category; of all by default.
        part: Score part.
        given: `"category"` or `"None"`.

    Returns:
        One row per threshold: `when fpr recall precision`, from no image called
        anomalous to all.

    Example:
        >>> from analysis import image_scores
        >>> points = roc_points(image_scores(run))
        >>> bool(points["fpr"].between(0, 1).all())
        True
    """
    rows = _first_and_last(scores, category, part, given)
    keys = ["run", "when", "category"]
    pooled = [_by_rank(one) for _, one in rows.groupby(keys, sort=False)]
    ranked = pd.concat(pooled)
    frames = []
    for when in WHEN:
        one = ranked[ranked["when"] == when].sort_values("rank", ascending=False)
        ill = one["label"].to_numpy() == 1
        # Images of one rank are called anomalous together.
        ends = np.flatnonzero(np.diff(one["rank"], append=-1.0))
        hits = ill.cumsum()[ends]
        alarms = (~ill).cumsum()[ends]
        points = {
            "when": when,
            "fpr": np.r_[0.0, alarms / max(1, (~ill).sum())],
            "recall": np.r_[0.0, hits / max(1, ill.sum())],
            "precision": np.r_[1.0, hits / (hits + alarms)],
        }
        frames.append(pd.DataFrame(points))
    return pd.concat(frames, ignore_index=True)


@alike
def defect_aurocs(
    scores: pd.DataFrame, *, part: str = "product", given: str = "category"
) -> pd.DataFrame:
    """Image AUROC of each kind of defect against its category's normal images.

    Args:
        scores: A table of `image_scores`, of one strategy.
        part: Score part.
        given: `"category"` or `"None"`.

    Returns:
        One row per `task category defect`, with the number of its `images` and its
        AUROC when `learnt` and under the `last` model, a mean over runs.

    Example:
        >>> from analysis import image_scores
        >>> defect_aurocs(image_scores(run))["defect"].unique().tolist()
        ['blot']
    """
    rows = _first_and_last(scores, None, part, given)
    keys = ["task", "category", "when", "run"]
    found = []
    for key, one in rows.groupby(keys, sort=False):
        normal = one[one["label"] == 0]
        for defect, ill in one[one["label"] == 1].groupby("defect"):
            both = pd.concat([normal, ill])
            if len(normal):
                value = image_auroc(both["label"], both["score"])
                found.append((*key, defect, len(ill), value))
    columns = [*keys, "defect", "images", "value"]
    table = pd.DataFrame(found, columns=columns)
    index = ["task", "category", "defect", "images"]
    means = table.groupby([*index, "when"], sort=False)["value"].mean().unstack()
    return means[list(WHEN)].rename_axis(columns=None).reset_index()


@alike
def routes(
    scores: pd.DataFrame, *, step: int = -1, part: str = "product"
) -> pd.DataFrame:
    """Share of each category's normal test images that are scored under each class.

    Args:
        scores: A table of `image_scores` with `given=None`, of one strategy.
        step: Index of the last task learned; the last by default.
        part: Score part.

    Returns:
        Categories in order of arrival as rows and as columns; rows sum to 1.

    Example:
        >>> from analysis import Scoring, image_scores
        >>> share = routes(image_scores(run, scoring=Scoring(given=None)))
        >>> share.sum(axis=1).round(6).unique().tolist()
        [1.0]
    """
    rows = chosen(scores, part=part, given="None")
    refuse_strategies(rows)
    rows = rows[(rows["step"] == step_of(rows, step)) & (rows["label"] == 0)]
    order = list(dict.fromkeys(rows.sort_values("task", kind="stable")["category"]))
    share = pd.crosstab(rows["category"], rows["routed"], normalize="index")
    return share.reindex(index=order, columns=order, fill_value=0.0)


@alike
def thresholds(
    scores: pd.DataFrame, *, part: str = "product", given: str = "category"
) -> pd.DataFrame:
    """What the best threshold of a category does after forgetting.

    Args:
        scores: A table of `image_scores`, of one strategy.
        part: Score part.
        given: `"category"` or `"None"`.

    Returns:
        One row per `task category`, means over runs: the `threshold` with the largest
        F1 when the task was learned, that F1 (`learnt`), the F1 of the same threshold
        under the last model (`kept`), its share of false alarms there (`false_alarms`),
        and the largest F1 that a new threshold would reach (`last`).

    Example:
        >>> from analysis import image_scores
        >>> table = thresholds(image_scores(run))
        >>> bool((table["kept"] <= table["last"]).all())
        True
    """
    rows = _first_and_last(scores, None, part, given)
    keys = ["run", "task", "category"]
    found = []
    for key, one in rows.groupby(keys, sort=False):
        before, after = (one[one["when"] == when] for when in WHEN)
        if before["label"].nunique() < 2:
            continue
        threshold, learnt = _best_f1(before)
        _, last = _best_f1(after)
        kept = _f1(after, threshold)
        normal = after[after["label"] == 0]
        alarms = (normal["score"] >= threshold).mean()
        found.append((*key, threshold, learnt, kept, alarms, last))
    values = ["threshold", "learnt", "kept", "false_alarms", "last"]
    table = pd.DataFrame(found, columns=[*keys, *values])
    return table.groupby(keys[1:], sort=False)[values].mean().reset_index()


def _first_and_last(
    scores: pd.DataFrame, category: str | None, part: str, given: str
) -> pd.DataFrame:
    """Scores of each category when learned and under the last model, as `when`."""
    where = {} if category is None else {"category": category}
    rows = chosen(scores, part=part, given=given, **where)
    refuse_strategies(rows)
    return first_and_last(rows)


def _by_rank(one: pd.DataFrame) -> pd.DataFrame:
    """Scores as shares of the category's normal images that lie below, ties half."""
    normal = one.loc[one["label"] == 0, "score"]
    if normal.empty:
        return one[:0].assign(rank=0.0)
    return one.assign(rank=share_below(one["score"], normal))


def _best_f1(one: pd.DataFrame) -> tuple[float, float]:
    """Threshold with the largest F1, and that F1."""
    candidates = [
        (_f1(one, value), -value) for value in one.loc[one["label"] == 1, "score"]
    ]
    f1, threshold = max(candidates)
    return -threshold, f1


def _f1(one: pd.DataFrame, threshold: float) -> float:
    """F1 of calling scores from a threshold on anomalous."""
    called = one["score"] >= threshold
    ill = one["label"] == 1
    hits = (called & ill).sum()
    return float(2 * hits / (called.sum() + ill.sum()))
