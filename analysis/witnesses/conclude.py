"""Conclusions from heads behind each block: what is harder to reach than it was."""

__all__ = ["accessibility_finding", "accessibility_terms"]

import pandas as pd

from analysis.contrasts import contrast, mean_weights, resampled, resampled_means
from analysis.intervals import Resampling
from analysis.rows import alike, chosen, matching

BY = {"task": ["task"], "all": []}
TERMS = ("old", "new", "drop", "above_features")


@alike
def accessibility_terms(
    measured: pd.DataFrame,
    *,
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """Heads before and after later tasks, block by block, with paired intervals.

    How to read it: `drop` is what a head lost, `old` − `new`; where it is 0 while the
    detector fell, the flow still shows what it showed, and the centers miss it. What is
    left counts as kept only above the floor, which is the same head on the features:
    `above_features` is `new` less that. A flow that just passes its features on loses
    nothing and has nothing.

    Args:
        measured: A table of `measure_accessibility`; means over categories and over
            runs of one strategy.
        by: `"task"` or `"all"` (a mean over all earlier tasks).
        resampling: Of the test images.

    Returns:
        One row per `strategy step head level block term` and task: `value low high`.
        `level` is the index of one, or `mean`.
    """
    if by not in BY:
        raise ValueError(f"Expected by to be one of {', '.join(BY)}; got {by!r}.")
    keys = ["strategy", "step", *BY[by], "head"]
    return _terms(measured, keys, resampling)


@alike
def accessibility_finding(
    measured: pd.DataFrame,
    *,
    head: str = "one_class",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """What a head on the latents lost, per run and task: one interval each.

    How to read it: above 0 the flow shows less than it did, to a head that is fitted
    anew; an interval that holds 0 says that it is not the flow.

    Args:
        measured: A table of `measure_accessibility`.
        head: `"one_class"` or `"class"`.
        resampling: Of the test images.

    Returns:
        One row per `run strategy step task`: `value low high`, in AUROC or accuracy,
        means over levels.
    """
    keys = ["run", "strategy", "step", "task", "head"]
    terms = _terms(chosen(measured, head=head), keys, resampling)
    last = terms["block"].max()
    found = matching(terms, level="mean", block=last, term="drop")
    return found[[*keys[:-1], "value", "low", "high"]].reset_index(drop=True)


def _terms(
    measured: pd.DataFrame, keys: list[str], resampling: Resampling
) -> pd.DataFrame:
    out = []
    for kind, rows in measured.groupby("head", sort=False):
        rows = rows.reset_index(drop=True)
        draw = resampled_means if kind == "class" else resampled
        samples = draw(rows, resampling)
        for key, one in _with_mean(rows).groupby([*keys, "level"], sort=False):
            drawn = samples[one.index]
            features = mean_weights(one["block"] == 0)
            for block in sorted(one["block"].unique()):
                is_here = one["block"] == block
                old = mean_weights(is_here & (one["flow"] == "old"))
                new = mean_weights(is_here & (one["flow"] == "new"))
                for term, weights in zip(TERMS, (old, new, old - new, new - features)):
                    interval = contrast(weights, drawn, resampling)
                    out.append((*key, block, term, *interval))
    columns = [*keys, "level", "block", "term", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


def _with_mean(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each level, and again all of them as those of the mean."""
    both = [rows.assign(level=rows["level"].astype(str)), rows.assign(level="mean")]
    return pd.concat(both)
