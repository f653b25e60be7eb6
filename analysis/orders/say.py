"""Orders in sentences."""

__all__ = ["summarise_orders"]

import numpy as np
import pandas as pd

from analysis.orders.conclude import order_means, order_table
from analysis.rows import alike
from analysis.words import label_of


@alike
def summarise_orders(
    measured: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    quantity: str = "final_mean",
) -> str:
    """Sentences on whether the ranking of methods is the order's doing.

    Args:
        measured: A table of `order_study`.
        metric: Which metric.
        quantity: As in `analysis.orders.order_means`.

    Example:
        >>> from analysis.orders import order_study
        >>> measured = order_study(plan, ("random", "random 1"), methods=("finetune",))
        >>> isinstance(summarise_orders(measured), str)
        True
    """
    means = order_means(measured, metric=metric, quantity=quantity)
    wide = means.pivot(index="order", columns="method", values="value")
    rankings = {tuple(np.argsort(values)) for values in wide.to_numpy()}
    table = order_table(measured, metric=metric, quantity=quantity)
    n_orders, n_seeds = table["orders"].iloc[0], table["seeds"].iloc[0]
    times = "once" if len(rankings) == 1 else f"in {len(rankings)} ways"
    ranked = "ranked alike in all" if len(rankings) == 1 else f"ranked {times}"
    seeds = "one seed" if n_seeds == 1 else f"{n_seeds} seeds"
    methods = f"{len(table)} methods are {ranked}"
    told = f"Over {n_orders} orders and {seeds}, by mean over seeds, {methods}."
    return f"{told} {_shares(table)}"


def _shares(table: pd.DataFrame) -> str:
    if table["seeds"].iloc[0] == 1:
        return "A single seed cannot tell what an order does from what a seed does."
    beyond = table[table["share"] > table["chance"]]
    named = [
        f"{label_of(row.method)} ({row.share:.2f}, by chance up to {row.chance:.2f})"
        for row in beyond.itertuples()
    ]
    names = ", ".join(named) or "no method"
    return f"Beyond chance, the order decides the rank of {names}."
