"""What is planted in ranks is found: an order's doing, a seed's, and nobody's."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis.orders import (
    order_means,
    order_study,
    order_table,
    ordered_stream,
    plot_orders,
    summarise_orders,
)
from analysis.scoring import Scoring
from analysis.studies import Study
from cl_flow import StreamConfig
from cl_flow.data.orders import ORDERS

METHODS = ("finetune", "replay")


def measured(value, *, orders: int = 4, seeds: int = 4) -> pd.DataFrame:
    """A table whose values are `value(order, method, seed)`."""
    rows = [
        (f"random {o}", METHODS[m], METHODS[m], s, value(o, m, s))
        for o, m, s in product(range(orders), range(2), range(seeds))
    ]
    columns = ["order", "method", "strategy", "seed", "value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(metric="image_auroc", quantity="final_mean")


def by_order(o: int, m: int, s: int) -> float:
    return 0.8 + (0.1 if (o + m) % 2 else 0.0) + 0.001 * s


def by_seed(o: int, m: int, s: int) -> float:
    return 0.8 + (0.1 if (s + m) % 2 else 0.0) + 0.001 * o


def test_an_order_that_decides_the_rank_is_found():
    table = order_table(measured(by_order))
    assert table["share"].tolist() == [1.0, 1.0]
    assert (table["chance"] < 0.8).all()
    assert table["best"].tolist() == [1.0, 1.0] and table["worst"].tolist() == [
        2.0,
        2.0,
    ]
    said = summarise_orders(measured(by_order))
    assert "2 methods are ranked in 2 ways" in said and "fine-tuning (1.00, " in said


def test_a_seed_that_decides_the_rank_is_not_taken_for_an_order():
    table = order_table(measured(by_seed))
    assert (table["share"] < 1e-12).all() and (table["chance"] > 0.1).all()
    assert "decides the rank of no method" in summarise_orders(measured(by_seed))


def test_chance_is_what_orders_that_mean_nothing_reach():
    rng = np.random.default_rng(0)
    beyond = []
    for _ in range(60):
        table = order_table(measured(lambda o, m, s: rng.random()))
        beyond += (table["share"] > table["chance"]).tolist()[:1]
    assert np.mean(beyond) < 0.15


def test_a_rank_that_never_changes_has_no_share():
    table = order_table(measured(lambda o, m, s: 0.7 + 0.1 * m + 0.01 * o + 0.001 * s))
    assert table["share"].isna().all() and table["rank"].tolist() == [2.0, 1.0]
    assert "ranked alike in all" in summarise_orders(
        measured(lambda o, m, s: m + s / 9)
    )


def test_a_single_seed_cannot_tell():
    one = measured(by_order, seeds=1)
    assert order_table(one)["share"].isna().all()
    assert "A single seed cannot tell" in summarise_orders(one)
    assert order_means(one)["low"].isna().all()
    assert plot_orders(one).get_legend() is not None


def test_of_forgetting_the_lowest_is_the_best():
    rows = measured(lambda o, m, s: 0.1 * m + 0.01 * o + 0.001 * s)
    rows = rows.assign(quantity="forgetting")
    assert order_table(rows, quantity="forgetting")["rank"].tolist() == [1.0, 2.0]


def test_each_method_has_its_points_and_intervals():
    rows = measured(by_order, orders=3)
    ax = plot_orders(rows)
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        f"random {o}" for o in range(3)
    ]
    means = order_means(rows)
    for bars, method in zip(ax.containers, METHODS):
        drawn = bars[0].get_ydata()
        assert drawn == pytest.approx(means[means["method"] == method]["value"])
        assert len(bars[2][0].get_segments()) == 3
    plt.close()


# ---- on runs


@pytest.fixture
def plan(tiny) -> Study:
    return Study("tiny", tiny, (0, 1))


def test_orders_are_trained_and_measured(plan):
    scores = {
        name: i for i, name in enumerate(("ant", "bee", "cat", "dog", "elk", "fox"))
    }
    orders = ("alphabetical", "random 1", "hard_to_easy", "easy_to_hard")
    rows = order_study(
        plan, orders, methods=METHODS, scores=scores, scoring=Scoring(size=32)
    )
    assert list(rows["order"].unique()) == list(orders)
    assert set(rows["seed"]) == {0, 1} and set(rows["method"]) == set(METHODS)
    table = order_table(rows)
    assert table["orders"].tolist() == [4, 4] and table["seeds"].tolist() == [2, 2]
    same = rows[rows["order"].isin(["alphabetical", "hard_to_easy"])]
    wide = same.pivot(
        index=["method", "seed", "metric", "quantity"], columns="order", values="value"
    )
    assert (wide["alphabetical"] == wide["hard_to_easy"]).all(), "they are one stream"


def test_difficulty_is_that_of_joint_training(plan):
    rows = order_study(plan, ["easy_to_hard"], seeds=[0], methods=["finetune"])
    assert set(rows["order"]) == {"easy_to_hard"}
    assert all(run.is_complete for run in plan.trained("joint"))


@pytest.mark.parametrize("order", ["alphabetical", "random", "random 7"])
def test_the_sizes_of_the_tasks_stay(plan, order):
    stream = ordered_stream(plan, order)
    assert stream.split == plan.base.stream.split
    assert stream.seed == (7 if order == "random 7" else plan.base.stream.seed)
    if order == "alphabetical":
        assert stream == plan.base.stream, "its runs are those that are there"


@pytest.mark.parametrize("order", ["", "alphabetic", "random x", "alphabetical 3"])
def test_another_order_is_refused(plan, order):
    with pytest.raises(KeyError, match="Unknown order .*; known: alphabetical, random"):
        ordered_stream(plan, order)


def test_every_order_has_its_name():
    assert set(ORDERS) == {
        "alphabetical", "random", "textures_first", "easy_to_hard", "hard_to_easy"
    }  # fmt: skip
    assert StreamConfig().order == "alphabetical"
