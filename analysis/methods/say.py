"""Methods in sentences."""

__all__ = ["bar_to_clear", "summarise_methods"]

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from analysis.intervals import Interval, interval_of
from analysis.rows import chosen, matching, of_tables
from analysis.words import label_of


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

    Raises:
        ValueError: Neither detector, or no joint training to hold it against.

    Example:
        >>> from analysis.methods import baselines, compare_methods
        >>> beside = baselines([run])
        >>> compared = compare_methods(runs, baselines=beside, time_steps=False)
        >>> len(bar_to_clear(compared).splitlines())
        2
    """
    ours = chosen(compared, metric=metric)
    ours = ours[ours["method"].isin(detectors)]
    final, gaps = (chosen(ours, quantity=name) for name in ("final_mean", "joint_gap"))
    best = final.loc[final["value"].idxmax()]
    (row,) = chosen(gaps, method=best["method"]).itertuples()
    where, gap = "below", interval_of(row)
    if gap.value <= 0:
        where, gap = "above", Interval(-gap.value, -gap.high, -gap.low)
    by = f"{gap.value:.3f}" if np.isnan(gap.low) else repr(gap)
    seeds = "one seed" if row.seeds == 1 else f"{row.seeds} seeds"
    return (
        f"Without any flow, {label_of(metric)} is {best['value']:.3f} "
        f"({label_of(best['method'])}),\n"
        f"{by} {where} joint training of the flow, {seeds}"
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

    Example:
        >>> from analysis.methods import baselines, compare_methods
        >>> from analysis.methods import contrast_methods
        >>> beside = baselines([run])
        >>> compared = compare_methods(runs, baselines=beside, time_steps=False)
        >>> contrasts = contrast_methods(runs, baselines=beside)
        >>> print(summarise_methods(compared, contrasts))
        **Without any flow, image AUROC is ...
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
        sentences.append(_below(final[~is_detector], final[is_detector]))
    if is_detector.any() and "joint" in set(final["method"]):
        told = bar_to_clear(compared, detectors=detectors).replace("\n", " ")
        sentences.insert(0, f"**{told}.**")
    return " ".join(sentences)


def _differences(image: pd.DataFrame) -> str:
    named = [f"{label_of(row.method)} {row.value:+.3f}" for row in image.itertuples()]
    return (
        "One seed, so no interval. Image AUROC of the last model against "
        f"fine-tuning: {', '.join(named)}."
    )


def _intervals(image: pd.DataFrame) -> str:
    is_apart = (image["low"] > 0) | (image["high"] < 0)
    apart = [
        f"{label_of(row.method)} {interval_of(row)!r}"
        for row in image[is_apart].itertuples()
    ]
    differing = ", ".join(apart) or "no method"
    text = f"Beyond the interval over seeds, {differing} differ from fine-tuning"
    rest = _named(image.loc[~is_apart, "method"])
    return f"{text}; not so {rest}." if rest else f"{text}."


def _below(methods: pd.DataFrame, detectors: pd.DataFrame) -> str:
    best = detectors.loc[detectors["value"].idxmax()]
    below = methods.loc[methods["value"] < best["value"], "method"]
    names = _named(below) or "none"
    return (
        f"Below the detector without a flow, {label_of(best['method'])} "
        f"({best['value']:.3f}): {names}."
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(map(label_of, names))
