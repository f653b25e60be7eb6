"""The table of methods: numbers against the R matrix, costs that are measured, and what
is said about them.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import evaluate, r_matrix
from analysis.methods import (
    bar_to_clear,
    baselines,
    contrast_methods,
    kept_bytes,
    method_name,
    methods_table,
    plot_bytes,
    plot_stability,
    step_cost,
    summarise_methods,
)
from analysis.methods.measure import compare_methods
from analysis.pages import styled
from analysis.scoring import Scoring
from analysis.style import contrast
from cl_flow import Run, fit


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    chosen = [
        ("finetune", {}),
        ("joint", {}),
        ("cumulative", {}),
        ("single", {}),
        ("replay", {"budget_bytes": 3000}),
        ("replay", {"budget_bytes": 30000}),
        ("freeze", {"share": 0.5}),
    ]
    configs = [
        tiny.replace(strategy=n, options=o, seed=s) for n, o in chosen for s in (0, 1)
    ]
    return [fit(config, folder=folder, progress=False) for config in configs]


@pytest.fixture(scope="module")
def others(runs) -> pd.DataFrame:
    return baselines(runs[:2], scoring=Scoring(size=32))


@pytest.fixture(scope="module")
def compared(runs, others) -> pd.DataFrame:
    return compare_methods(runs, baselines=others)


def test_every_method_has_its_numbers(runs, compared):
    assert not compared.duplicated(["method", "metric", "quantity"]).any()
    assert (compared.loc[compared["metric"] != "", "seeds"] == 2).all()
    rows = compared[compared["metric"] == "image_auroc"].set_index(
        ["method", "quantity"]
    )["value"]
    tables = [
        evaluate(run, scoring=Scoring(part="product"))
        for run in runs
        if method_name(run) == "freeze (share 0.5)"
    ]
    joint = [
        evaluate(run, scoring=Scoring(part="product"))
        for run in runs
        if run.strategy == "joint"
    ]
    R, best = ([r_matrix(one) for one in group] for group in (tables, joint))
    assert rows["freeze (share 0.5)", "final_mean"] == pytest.approx(
        np.mean([r[-1].mean() for r in R])
    )
    assert rows["freeze (share 0.5)", "bwt"] == pytest.approx(
        np.mean([r[-1, 0] - r[0, 0] for r in R])
    )
    gap = np.mean([(b[-1] - r[-1]).mean() for b, r in zip(best, R)])
    assert rows["freeze (share 0.5)", "joint_gap"] == pytest.approx(gap)
    assert (
        rows["joint", "joint_gap"] == 0
        and ("joint", "bwt") not in rows
        and ("single", "bwt") not in rows
    )


def test_bytes_are_those_on_disk(runs, compared):
    rows = compared[compared["quantity"] == "kept_bytes"].set_index("method")["value"]
    assert rows["finetune"] == rows["freeze (share 0.5)"] == 0 and "joint" not in rows
    assert (
        2000
        < rows["replay (budget_bytes 3,000)"]
        <= 3000
        < rows["replay (budget_bytes 30,000)"]
        <= 30_000
    )
    cumulative = next(run for run in runs if run.strategy == "cumulative")
    features = cumulative.features.where(split="train")
    assert kept_bytes(cumulative) == sum(x.nbytes for x in features.read())


def test_steps_are_timed_beside_fine_tuning(runs):
    cost = step_cost(
        [run for run in runs if run.strategy in ("finetune", "replay", "joint")]
    ).set_index("run")
    for run in runs:
        if run.strategy == "finetune":
            assert (
                0.3 < cost.loc[run.name, "step_ratio"] < 3
                and cost.loc[run.name, "steps_ratio"] == 1
            )
        if run.strategy == "replay":
            assert cost.loc[run.name, "steps_ratio"] == 2, (
                "three of six images in a batch are rehearsed"
            )
        if run.strategy == "joint":
            assert cost.loc[run.name].isna().sum() == 4


def test_baselines_forget_nothing_and_have_the_form_of_evaluate(runs, others):
    mine = others[(others["strategy"] == "x_gaussian") & (others["seed"] == 0)]
    R = r_matrix(mine)
    assert (
        R.shape == (2, 2)
        and R[0, 0] == R[1, 0]
        and np.isnan(R[0, 1])
        and (R[1] > 0.5).all()
    )
    assert set(evaluate(runs[0]).columns) <= set(others.columns)
    dims = runs[0].features.dims
    assert mine["kept_bytes"].iloc[0] == 6 * sum(
        4 * (1 + d + d * (d + 1) // 2) for d in dims
    )
    with pytest.raises(
        KeyError, match="Unknown detector 'patchcore'; known: x_gaussian, x_knn"
    ):
        baselines(runs[0], detector=("patchcore",))


def test_a_defect_that_the_features_show_is_found_by_both_detectors(others):
    image = others[(others["metric"] == "image_auroc") & (others["part"] == "product")]
    assert (image.groupby("strategy")["value"].mean() > 0.8).all(), (
        "blots of another colour"
    )


def test_contrasts_pair_the_seeds(runs, others, compared):
    contrasts = contrast_methods(runs, baselines=others)
    assert (
        "finetune" not in set(contrasts["method"]) and (contrasts["seeds"] == 2).all()
    )
    means = compared[
        (compared["metric"] == "image_auroc") & (compared["quantity"] == "final_mean")
    ].set_index("method")
    image = contrasts[contrasts["metric"] == "image_auroc"].set_index("method")["value"]
    assert image["single"] == pytest.approx(
        means.loc["single", "value"] - means.loc["finetune", "value"]
    )
    with pytest.raises(KeyError, match="Unknown method 'tuned'; known: .*finetune"):
        contrast_methods(runs, against="tuned")


def test_the_summary_says_what_differs_and_what_a_detector_beats(compared):
    contrasts = pd.DataFrame(
        [
            ("a", "image_auroc", 0.1, 0.05, 0.15, 3),
            ("b", "image_auroc", 0.1, -0.05, 0.25, 3),
        ],
        columns=["method", "metric", "value", "low", "high", "seeds"],
    )
    text = summarise_methods(compared, contrasts)
    assert (
        "a 0.100 [0.050, 0.150] differ from fine-tuning; not so b" in text
        and "Below the detector without a flow" in text
    )
    single = contrasts.assign(low=np.nan, high=np.nan)
    assert "One seed, so no interval." in summarise_methods(compared, single)
    headline = bar_to_clear(compared).replace("\n", " ")
    assert text.startswith(f"**{headline}.**")


@pytest.fixture
def detected() -> pd.DataFrame:
    rows = [
        ("x_gaussian", "final_mean", 0.7, np.nan, np.nan),
        ("x_gaussian", "joint_gap", 0.2, 0.1, 0.3),
        ("x_knn", "final_mean", 0.9, np.nan, np.nan),
        ("x_knn", "joint_gap", np.nan, np.nan, np.nan),
        ("ewc", "final_mean", 0.95, np.nan, np.nan),
    ]
    columns = ["method", "quantity", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(strategy="any", metric="image_auroc", seeds=1)


@pytest.mark.parametrize(
    ("gap", "seeds", "words"),
    [
        ((-0.02, np.nan, np.nan), 1, "0.020 above joint training of the flow, one"),
        ((-0.02, -0.03, -0.01), 3, "0.020 [0.010, 0.030] above joint training of the"),
        ((0.02, -0.03, 0.07), 3, "0.020 [-0.030, 0.070] below joint training of the"),
    ],
)
def test_the_headline_is_of_the_better_detector_beside_joint_training(
    detected, gap, seeds, words
):
    detected.loc[3, ["value", "low", "high"]] = gap
    text = bar_to_clear(detected.assign(seeds=seeds))
    assert "Without any flow, image AUROC is 0.900 (nearest neighbours)" in text
    assert words in text


def test_a_headline_without_a_bar_is_refused_and_a_summary_goes_without(detected):
    alone = detected[detected["quantity"] == "final_mean"]
    with pytest.raises(ValueError, match="quantity='joint_gap'; there are: final_mean"):
        bar_to_clear(alone)
    columns = ["method", "metric", "value", "low", "high", "seeds"]
    rows = [("ewc", "image_auroc", 0.1, 0.05, 0.15, 3)]
    told = summarise_methods(alone, pd.DataFrame(rows, columns=columns))
    assert told.startswith("Beyond the interval over seeds, EWC")


def test_the_page_has_a_row_per_method(compared, tmp_path):
    page = methods_table(compared)
    assert list(page.index) == list(compared["method"].unique())
    assert "[" in page.loc["finetune", ("image_auroc", "final_mean")]
    assert (
        page.loc["finetune", ("", "kept_bytes")] == "0"
        and page.loc["joint", ("image_auroc", "bwt")] == ""
    )
    assert "finetune" in page.to_csv()
    assert "fine-tuning" in styled(page).to_latex()


def test_methods_stand_where_their_bytes_and_scores_are(compared):
    ax = plot_bytes(compared)
    named = {container.get_label(): container for container in ax.containers}
    assert set(named) == {
        "fine-tuning",
        "cumulative training",
        "a model per task",
        "replay",
        "freeze",
        "one Gaussian (no flow)",
        "nearest neighbours (no flow)",
    }
    x, y = named["replay"].lines[0].get_data()
    assert len(x) == 2 and 2000 < x[0] <= 3000 and ax.get_xscale() == "log"
    rows = compared[
        (compared["metric"] == "image_auroc") & (compared["quantity"] == "final_mean")
    ].set_index("method")
    assert y[0] == pytest.approx(rows.loc["replay (budget_bytes 3,000)", "value"])
    (joint,) = (line for line in ax.lines if line.get_label() == "joint training")
    assert joint.get_ydata()[0] == pytest.approx(rows.loc["joint", "value"])
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks[0] == "none" and "1 kB" in ticks


def test_many_methods_can_be_told_apart(compared):
    row = compared[compared["method"] == "finetune"]
    many = [row.assign(method=f"m{i}", strategy=f"m{i}") for i in range(20)]
    lines = [one.lines[0] for one in plot_bytes(pd.concat(many)).containers]
    looks = {(line.get_color(), line.get_marker()) for line in lines}
    assert len(looks) == 20
    assert min(contrast(line.get_color(), "white") for line in lines) >= 3


def test_a_line_joins_strengths_and_no_kinds(compared):
    kinds = compared.replace({"replay (budget_bytes 3,000)": "replay (law empirical)"})
    for table, style in ((compared, "-"), (kinds, "None")):
        ax = plot_stability(table, ax=plt.figure().add_subplot())
        line = next(
            one.lines[0] for one in ax.containers if one.get_label() == "replay"
        )
        assert line.get_linestyle() == style


def test_every_strength_is_on_the_stability_curve(compared):
    ax = plot_stability(compared, metric="pixel_auroc")
    named = {
        container.get_label(): container.lines[0].get_data()
        for container in ax.containers
    }
    assert (
        len(named["replay"][0]) == 2
        and len(named["freeze"][0]) == 1
        and named["nearest neighbours (no flow)"][1] == [0.0]
    )
    with pytest.raises(ValueError, match="metric='aupro' and quantity='bwt'; got none"):
        plot_stability(compared, metric="aupro")


def test_methods_that_keep_nothing_stand_apart_at_the_left(compared):
    nothing = compared[compared["strategy"].isin(["finetune", "freeze", "single"])]
    containers = plot_bytes(nothing).containers
    places = {
        container.get_label(): float(container.lines[0].get_xdata()[0])
        for container in containers
    }
    assert set(places) == {"fine-tuning", "freeze", "a model per task"}
    assert len(set(places.values())) == 3
