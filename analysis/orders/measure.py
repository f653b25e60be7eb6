"""Orders measured: the same methods over streams of the same tasks' sizes."""

__all__ = ["METHODS", "order_study", "ordered_stream"]

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.detection.conclude import category_scores
from analysis.detection.measure import evaluate
from analysis.methods.measure import per_seed
from analysis.rows import of_tables
from analysis.scoring import Scoring
from analysis.studies import Study
from cl_flow.calls import checked, refuse_unknown
from cl_flow.data.orders import ORDERS
from cl_flow.data.streams import StreamConfig
from cl_flow.runs.config import new_strategy
from cl_flow.runs.fitting import fit_all

# Fine-tuning, exemplars, and laws of features without any.
METHODS = ("finetune", "replay", "feature_gaussian")
SCORED = ("easy_to_hard", "hard_to_easy")


@of_tables
def order_study(
    plan: Study,
    orders: Sequence[str] = ("alphabetical", "random"),
    *,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    scores: Mapping[str, float] | None = None,
    part: str = "product",
    scoring: Scoring = Scoring(),
) -> pd.DataFrame:
    """Train methods over several orders of the categories, and measure them.

    How to read it: `order_table` says how far a method's rank changes with the order,
    beyond what seeds change by chance.

    Args:
        plan: Of which the sizes of the tasks are kept.
        orders: Names in `cl_flow.data.orders.ORDERS`; `"random 3"` is drawn by seed 3.
        seeds: Of model and data; those of the plan by default.
        methods: Names of strategies.
        options: Of some of them, by name.
        scores: Of each category, for orders by difficulty; by default its image AUROC
            under the plan's joint runs, which are trained where they are missing.
        part: Score part.
        scoring: Normalisation and size of the scores; its other fields are not used.

    Raises:
        KeyError: An unknown order or strategy.
        ValueError: A strategy that needs boundaries, on a stream that has none; no
            categories that are textures, or a category without a score.

    Returns:
        One row per `order method strategy seed metric quantity`, with its `value`.

    Example:
        >>> measured = order_study(plan, ("random", "random 1"), methods=("finetune",))
        >>> sorted(set(measured["order"]))
        ['random', 'random 1']
    """
    chosen = options or {}
    for name in methods:  # before anything is trained to score by
        new_strategy(plan.config(name, options=chosen.get(name, {})))
    if scores is None and not set(SCORED).isdisjoint(orders):
        scores = _joint_scores(plan, part, scoring)
    streams = {order: ordered_stream(plan, order, scores=scores) for order in orders}
    keys = [
        (order, plan.config(name, seed=seed, options=chosen.get(name, {}), stream=one))
        for order, one in streams.items()
        for name in methods
        for seed in (plan.seeds if seeds is None else seeds)
    ]
    runs = fit_all([config for _, config in keys])
    frames = []
    for order in streams:
        own = [run for (name, _), run in zip(keys, runs) if name == order]
        rows = per_seed(own, part=part, scoring=scoring, time_steps=False)
        frames.append(rows[rows["metric"] != ""].assign(order=order))
    rows = pd.concat(frames, ignore_index=True)
    return rows[["order", *rows.columns.drop("order")]]


@checked
def ordered_stream(
    plan: Study, order: str, *, scores: Mapping[str, float] | None = None
) -> StreamConfig:
    """Stream of a plan in another order.

    Args:
        plan: Of which the sizes of the tasks are kept.
        order: A name in `cl_flow.data.orders.ORDERS`; `"random 3"` is drawn by seed 3.
        scores: Of each category, for orders by difficulty.

    Raises:
        KeyError: An unknown order.
        ValueError: What the order needs is missing.

    Example:
        >>> ordered_stream(plan, "random 3").seed
        3
    """
    name, _, seed = order.partition(" ")
    if seed and (name != "random" or not seed.isdecimal()):
        name = order
    refuse_unknown("order", name, ORDERS)
    if name in SCORED:
        names = plan.samples()["category"].unique()
        by_score = ORDERS[name](list(names), scores=scores)
        return dataclasses.replace(plan.base.stream, order=by_score)
    number = int(seed) if seed else plan.base.stream.seed
    return dataclasses.replace(plan.base.stream, order=name, seed=number)


def _joint_scores(plan: Study, part: str, scoring: Scoring) -> dict[str, float]:
    """Image AUROC of each category under joint training."""
    told = dataclasses.replace(scoring, metric="image_auroc", part=part)
    return category_scores(evaluate(plan.fit("joint"), scoring=told), part=part)
