"""Conclusions from heads behind each block: what is harder to reach than it was."""

__all__ = [
    "accessibility_finding",
    "accessibility_terms",
    "representation_finding",
    "representation_levels",
]

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

    Example:
        >>> from analysis.witnesses import measure_accessibility
        >>> terms = accessibility_terms(measure_accessibility(run))
        >>> sorted(set(terms["term"]))
        ['above_features', 'drop', 'new', 'old']
    """
    keys = ["strategy", "step", *_by(by), "head"]
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
    anew; where the interval holds 0, these images do not show that it lost anything.

    Args:
        measured: A table of `measure_accessibility`.
        head: `"one_class"` or `"class"`.
        resampling: Of the test images.

    Returns:
        One row per `run strategy step task`: `value low high`, in AUROC or accuracy,
        means over levels.

    Example:
        >>> from analysis.witnesses import measure_accessibility
        >>> accessibility_finding(measure_accessibility(run))["task"].tolist()
        [0]
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


@alike
def representation_levels(
    measured: pd.DataFrame,
    *,
    by: str = "task",
    resampling: Resampling = Resampling(),
) -> pd.DataFrame:
    """CKA and discrepancy of each block with their intervals over held-out images.

    How to read it: the first block whose discrepancy is above 0 is where an affine head
    begins to miss what it saw. `new_less_untrained` at or above 0 says that a flow that
    learned nothing is as near to what the old one was: no affine head can tell that
    anything was kept.

    Args:
        measured: A table of `measure_representations`; means over runs of one strategy.
        by: `"task"` or `"all"` (a mean over all earlier tasks).
        resampling: Of the held-out images.

    Returns:
        One row per `strategy step measure level block flow` and task: `value low high`.
        `flow` is `new`, `untrained`, or `new_less_untrained`; `level` the index of one,
        or `mean`.

    Example:
        >>> from analysis.witnesses import measure_representations
        >>> levels = representation_levels(measure_representations(run))
        >>> sorted(set(levels["measure"]))
        ['cka', 'discrepancy']
    """
    return _levels(measured, ["strategy", "step", *_by(by), "measure"], resampling)


@alike
def representation_finding(
    measured: pd.DataFrame, *, resampling: Resampling = Resampling()
) -> pd.DataFrame:
    """Discrepancy of the latents beyond an untrained flow's: one interval each.

    How to read it: below 0 the new flow is nearer to what the old one was than a flow
    that learned nothing: it kept something of what was learned. Above 0, or where the
    interval holds 0, nothing is seen of that.

    Args:
        measured: A table of `measure_representations`.
        resampling: Of the held-out images.

    Returns:
        One row per `run strategy step task`: `value low high`, means over levels.

    Example:
        >>> from analysis.witnesses import measure_representations
        >>> representation_finding(measure_representations(run))["task"].tolist()
        [0]
    """
    keys = ["run", "strategy", "step", "task", "measure"]
    rows = chosen(measured, measure="discrepancy")
    levels = _levels(rows, keys, resampling)
    last = levels["block"].max()
    found = matching(levels, level="mean", block=last, flow="new_less_untrained")
    return found[[*keys[:-1], "value", "low", "high"]].reset_index(drop=True)


def _levels(
    measured: pd.DataFrame, keys: list[str], resampling: Resampling
) -> pd.DataFrame:
    out = []
    rows = measured.reset_index(drop=True)
    # The images of a task are drawn together.
    samples = resampled_means(
        rows.assign(category=rows["task"].astype(str)), resampling
    )
    for key, one in _with_mean(rows).groupby([*keys, "level", "block"], sort=False):
        new = mean_weights(one["flow"] == "new")
        untrained = mean_weights(one["flow"] == "untrained")
        flows = {"new": new, "untrained": untrained}
        flows["new_less_untrained"] = new - untrained
        for flow, weights in flows.items():
            interval = contrast(weights, samples[one.index], resampling)
            out.append((*key, flow, *interval))
    columns = [*keys, "level", "block", "flow", "value", "low", "high"]
    return pd.DataFrame(out, columns=columns)


def _by(by: str) -> list[str]:
    """The columns that tell groups of tasks apart."""
    if by not in BY:
        raise ValueError(f"Expected by to be one of {', '.join(BY)}; got {by!r}.")
    return BY[by]


def _with_mean(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each level, and again all of them as those of the mean."""
    both = [rows.assign(level=rows["level"].astype(str)), rows.assign(level="mean")]
    return pd.concat(both)
