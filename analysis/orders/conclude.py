"""Conclusions on orders: how far a method's rank is that of its order."""

__all__ = ["order_means", "order_table"]

import numpy as np
import pandas as pd

from analysis.intervals import seed_interval
from analysis.rows import alike, chosen

N_SHUFFLES = 2000
CHANCE = 0.95  # quantile of what shuffled orders explain


@alike
def order_means(
    measured: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    quantity: str = "final_mean",
) -> pd.DataFrame:
    """Mean of each method in each order, with Student's interval over seeds.

    Args:
        measured: A table of `order_study`.
        metric: Which metric.
        quantity: `final_mean`, `learning_score`, `bwt` or `forgetting`.

    Returns:
        One row per `order method strategy` with `value low high seeds`.

    Example:
        >>> from analysis.orders import order_study
        >>> measured = order_study(plan, ("random", "random 1"), methods=("finetune",))
        >>> order_means(measured)["order"].tolist()
        ['random', 'random 1']
    """
    rows = chosen(measured, metric=metric, quantity=quantity)
    out = []
    keys = ["order", "method", "strategy"]
    for key, group in rows.groupby(keys, sort=False):
        out.append((*key, *seed_interval(group["value"]), len(group)))
    return pd.DataFrame(out, columns=[*keys, "value", "low", "high", "seeds"])


@alike
def order_table(
    measured: pd.DataFrame,
    *,
    metric: str = "image_auroc",
    quantity: str = "final_mean",
) -> pd.DataFrame:
    """Value and rank of each method over the orders, and the order's part in the rank.

    How to read it: `share` is the part of the rank's variance over orders and seeds
    that lies between orders. `chance` is what orders that mean nothing reach in one
    study of twenty (the rank's runs shuffled over the orders): a share above it is the
    order's doing. A rank that never changes has neither, and a single seed cannot tell
    an order from a seed.

    Args:
        measured: A table of `order_study`.
        metric: Which metric.
        quantity: As in `order_means`; of `forgetting` the lowest is the best.

    Returns:
        One row per method: `method value low high rank best worst share chance orders
        seeds`. The interval is Student's over orders; `best` and `worst` are the means
        of the rank in the kindest and the unkindest order.

    Example:
        >>> from analysis.orders import order_study
        >>> measured = order_study(plan, ("random", "random 1"), methods=("finetune",))
        >>> order_table(measured)[["orders", "seeds"]].values.tolist()
        [[2, 1]]
    """
    rows = chosen(measured, metric=metric, quantity=quantity)
    wide = rows.pivot(index=["order", "seed"], columns="method", values="value")
    ranks = wide.rank(axis="columns", ascending=quantity == "forgetting")
    out = []
    for method in rows["method"].unique():
        by_order = wide[method].groupby(level="order").mean()
        rank = ranks[method].groupby(level="order").mean()
        share, chance = _share(ranks[method])
        out.append(
            {
                "method": method,
                **seed_interval(by_order)._asdict(),
                "rank": rank.mean(),
                "best": rank.min(),
                "worst": rank.max(),
                "share": share,
                "chance": chance,
                "orders": len(by_order),
                "seeds": rows["seed"].nunique(),
            }
        )
    return pd.DataFrame(out)


def _share(ranks: pd.Series) -> tuple[float, float]:
    """Share of variance between orders, and what chance reaches."""
    values = ranks.to_numpy()
    orders = ranks.index.get_level_values("order")
    places = np.unique(orders, return_inverse=True)[1]
    sizes = np.bincount(places)
    if len(sizes) < 2 or sizes.min() < 2 or not np.ptp(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    shuffled = [values, *(rng.permutation(values) for _ in range(N_SHUFFLES))]
    off = np.array(shuffled) - values.mean()
    means = np.stack([off[:, places == i].mean(1) for i in range(len(sizes))], axis=1)
    shares = (sizes * means**2).sum(1) / (off**2).sum(1)
    return float(shares[0]), float(np.quantile(shares[1:], CHANCE))
