"""Methods in sentences."""

__all__ = ["summarise_methods"]

from collections.abc import Iterable, Sequence

import pandas as pd

from analysis.intervals import interval_of
from analysis.rows import matching, of_tables
from analysis.words import label_of


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
        sentences.append(_below(final[~is_detector], final[is_detector]))
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
