"""Methods in sentences."""

__all__ = ["summarise_methods"]

from collections.abc import Sequence

import pandas as pd

from analysis.intervals import Interval


def summarise_methods(
    compared: pd.DataFrame,
    contrasts: pd.DataFrame,
    *,
    detectors: Sequence[str] = ("x_gaussian", "x_knn"),
) -> str:
    """Sentences on which methods differ from fine-tuning.

    And which stay below a detector that needs no flow.

    Args:
        compared: Of `methods`.
        contrasts: Of `contrast_methods` against `finetune`.
        detectors: Methods of `compared` without a flow.
    """
    image = contrasts[
        (contrasts["metric"] == "image_auroc") & ~contrasts["method"].isin(detectors)
    ]
    if image["low"].isna().all():
        named = [f"`{row.method}` {row.value:+.3f}" for row in image.itertuples()]
        text = (
            "One seed, so no interval. Image AUROC of the last model against "
            f"fine-tuning: {', '.join(named)}."
        )
    else:
        apart = image[(image["low"] > 0) | (image["high"] < 0)]
        named = [
            f"`{row.method}` {Interval(row.value, row.low, row.high)!r}"
            for row in apart.itertuples()
        ]
        rest = [
            f"`{name}`" for name in image["method"] if name not in set(apart["method"])
        ]
        differing = ", ".join(named) or "no method"
        text = f"Beyond the interval over seeds, {differing} differ from fine-tuning"
        text += f"; not so {', '.join(rest)}." if rest else "."
    final = compared[
        (compared["metric"] == "image_auroc") & (compared["quantity"] == "final_mean")
    ]
    known = final[final["method"].isin(detectors)]
    if known.empty:
        return text
    best = known.loc[known["value"].idxmax()]
    below = final[(final["value"] < best["value"]) & ~final["method"].isin(detectors)][
        "method"
    ]
    return (
        f"{text} Below `{best['method']}` ({best['value']:.3f}), which needs no flow: "
        + (", ".join(f"`{name}`" for name in below) + "." if len(below) else "none.")
    )
