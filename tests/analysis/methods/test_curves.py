"""Learning curves: one run per budget, beside what it took."""

import dataclasses

import numpy as np
import pytest

from analysis import evaluate
from analysis.methods import (
    fit_budgets,
    learning_curve,
    measure_learning_curve,
    plot_learning_curve,
)
from analysis.scoring import Scoring
from analysis.studies import Study

SCORING = Scoring(metric="image_auroc", part="product", size=32)


@pytest.fixture(scope="module")
def runs(tiny) -> list:
    flow = dataclasses.replace(tiny.flow, n_blocks=1)
    plan = Study("tiny-curve", tiny.replace(flow=flow), (0, 1))
    return fit_budgets(plan, ["joint", "finetune"], passes=(1, 3))


def test_there_is_a_run_for_every_strategy_budget_and_seed(runs):
    found = [(run.strategy, run.config.train.epochs, run.seed) for run in runs]
    names, lengths, seeds = ("joint", "finetune"), (1, 3), (0, 1)
    assert found == [(n, e, s) for n in names for e in lengths for s in seeds]


def test_a_curve_is_of_last_models_and_their_costs(runs):
    table = measure_learning_curve(runs, scoring=SCORING)
    curve = learning_curve(table)
    assert curve["passes"].tolist() == [1, 3, 1, 3] and (curve["seeds"] == 2).all()
    for row in curve.itertuples():
        own = [
            run
            for run in runs
            if (run.strategy, run.config.train.epochs) == (row.strategy, row.passes)
        ]
        seconds = [sum(step["seconds"] for step in run.facts["steps"]) for run in own]
        assert row.seconds == pytest.approx(np.mean(seconds))
        assert row.images == row.passes * 36
        last = [evaluate(run, scoring=SCORING) for run in own]
        means = [one[one["step"] == one["step"].max()]["value"].mean() for one in last]
        assert row.value == pytest.approx(np.mean(means))
        assert row.low <= row.value <= row.high


def test_a_line_is_a_method_and_a_point_a_budget(runs):
    curve = learning_curve(measure_learning_curve(runs, scoring=SCORING))
    for against, label in (("seconds", "seconds of training"), ("passes", "passes")):
        ax = plot_learning_curve(curve, against=against)
        joint, finetune = (container[0] for container in ax.containers)
        own = curve[curve["method"] == "joint"].sort_values(against)
        assert joint.get_xdata().tolist() == own[against].tolist()
        assert joint.get_ydata().tolist() == own["value"].tolist()
        assert label in ax.get_xlabel() and ax.get_xscale() == "log"
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert names == ["joint training", "fine-tuning"]
        ax.figure.clear()
