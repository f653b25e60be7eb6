"""Methods in sentences."""

__all__ = ["bar_to_clear", "summarise_methods"]

from collections.abc import Iterable, Sequence

import pandas as pd

from analysis.intervals import interval_of
from analysis.rows import matching, of_tables
from analysis.style import label_of


@of_tables
def bar_to_clear(
    compared: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    detectors: Sequence[str] = ("x_gaussian", "x_knn"),
) -> str:
    """Headline of two lines: the best detector without a flow beside joint training.

    Args:
        compared: Of `methods`, with joint training and a detector.
        metric: `image_auroc` or `pixel_auroc`.
        detectors: Methods of `compared` without a flow.
    """
    rows = matching(compared, metric=metric).set_index(["method", "quantity"])
    values = rows["value"]
    best = max(
        (name for name in detectors if (name, "final_mean") in rows.index),
        key=lambda name: values[name, "final_mean"],
    )
    gap = rows.loc[(best, "joint_gap")]
    where = "above" if gap["value"] < 0 else "below"
    behind = abs(gap["value"])
    seeds = "one seed"
    if gap["seeds"] > 1:
        is_apart = gap["low"] > 0 or gap["high"] < 0
        seeds = (
            f"{'' if is_apart else 'not '}beyond the interval of {gap['seeds']} seeds"
        )
    return (
        f"{label_of(best).capitalize()} without a flow reach an {label_of(metric)} of "
        f"{values[best, 'final_mean']:.3f},\n"
        f"{behind:.3f} {where} joint training of the flow ({seeds})"
    )


@of_tables
def summarise_methods(
    compared: pd.DataFrame,
    contrasts: pd.DataFrame,
    *,
    detectors: Sequence[str] = ("x_gaussian", "x_knn"),
) -> str:
    """Sentences on what differs from fine-tuning, and what stays below a detector.

    Args:
        compared: Of `methods`.
        contrasts: Of `contrast_methods` against `finetune`.
        detectors: Methods of `compared` without a flow.
    """
    image = matching(contrasts, metric="image_auroc")
    image = image[~image["method"].isin(detectors)]
    of_one_seed = image["low"].isna().all()
    sentences = [_differences(image) if of_one_seed else _intervals(image)]
    final = matching(
        compared,
        metric="image_auroc",
        quantity="final_mean",
    )
    is_detector = final["method"].isin(detectors)
    if is_detector.any():
        told = bar_to_clear(compared, detectors=detectors).replace("\n", " ")
        sentences.insert(0, f"**{told}.**")
        sentences.append(_below(final[~is_detector], final[is_detector]))
    return " ".join(sentences)


def _differences(image: pd.DataFrame) -> str:
    named = [f"`{row.method}` {row.value:+.3f}" for row in image.itertuples()]
    return (
        "One seed, so no interval. Image AUROC of the last model against "
        f"fine-tuning: {', '.join(named)}."
    )


def _intervals(image: pd.DataFrame) -> str:
    is_apart = (image["low"] > 0) | (image["high"] < 0)
    apart = [
        f"`{row.method}` {interval_of(row)!r}" for row in image[is_apart].itertuples()
    ]
    differing = ", ".join(apart) or "no method"
    text = f"Beyond the interval over seeds, {differing} differ from fine-tuning"
    rest = _quoted(image.loc[~is_apart, "method"])
    return f"{text}; not so {rest}." if rest else f"{text}."


def _below(methods: pd.DataFrame, detectors: pd.DataFrame) -> str:
    best = detectors.loc[detectors["value"].idxmax()]
    below = methods.loc[methods["value"] < best["value"], "method"]
    names = _quoted(below) or "none"
    return (
        f"Below `{best['method']}` ({best['value']:.3f}), which needs no flow: {names}."
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
