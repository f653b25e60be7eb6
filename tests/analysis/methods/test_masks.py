"""Sub-networks measured: still where they are held, moved where they are shared, and a
leak is seen when it is planted.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import evaluate
from analysis.methods import measure_subnetworks, plot_subnetworks, subnetworks_beside
from analysis.scoring import Scoring
from cl_flow import Run, fit
from cl_flow.model.class_views import used_weights
from cl_flow.runs.snapshot import Snapshot

METHODS = {
    "free": ("sparse", {"density": 0.4}),
    "frozen": ("sparse", {"density": 0.4, "overlap": "frozen"}),
    "disjoint": ("sparse", {"overlap": "disjoint"}),
    "shared": ("sparse", {"overlap": "frozen", "biases": "shared"}),
    "packnet": ("packnet", {}),
    "finetune": ("finetune", {}),
}


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        key: fit(
            tiny.replace(strategy=name, options=options), folder=folder, progress=False
        )
        for key, (name, options) in METHODS.items()
    }


def last(run: Run) -> pd.Series:
    """Quantities of the first task after the second."""
    table = measure_subnetworks(run)
    rows = table[(table["task"] == 0) & (table["step"] == 1)]
    return rows.set_index("quantity")["value"]


def test_what_has_just_been_learned_has_not_moved(runs):
    table = measure_subnetworks(list(runs.values()))
    keys = ["run", "step", "task", "quantity"]
    assert not table.duplicated(keys).any() and table["value"].notna().all()
    own = table[table["step"] == table["task"]]
    assert set(own["quantity"]) == {"density", "displacement", "biases", "centers"}
    assert (own.loc[own["quantity"] != "density", "value"] == 0).all()


@pytest.mark.parametrize("key", ["frozen", "disjoint", "shared", "packnet"])
def test_what_is_held_is_not_displaced(runs, key):
    found = last(runs[key])
    assert found["displacement"] == 0 == found["off_mask"]
    assert (found["overlap"] == 0) == (key == "disjoint")
    assert (found["biases"] == 0) == (key != "shared")
    assert found["centers"] > 0, "they all learn on"


@pytest.mark.parametrize("key", ["free", "finetune"])
def test_what_is_shared_is_displaced_on_the_mask_alone(runs, key):
    found = last(runs[key])
    assert found["displacement"] > 0 == found["off_mask"]
    assert (found["biases"] > 0) == (key == "finetune")


def test_the_shares_are_those_of_the_masks(runs):
    found = last(runs["free"])
    assert found["density"] == pytest.approx(0.4, abs=0.01)
    model = runs["free"][1].model()
    one, two = (
        torch.cat([mask.flatten() for mask in used_weights(model, task).values()])
        for task in (0, 1)
    )
    assert found["overlap"] == pytest.approx(
        (one & two).sum().item() / one.sum().item()
    )
    assert found["touched"] == found["overlap"], "there is one later task"
    assert last(runs["packnet"])["overlap"] == 1 == last(runs["finetune"])["overlap"]


def test_a_leak_off_the_mask_is_seen_when_it_is_planted(runs, tmp_path):
    run = runs["disjoint"]
    shutil.copytree(run.folder, tmp_path / run.name)
    shutil.rmtree(tmp_path / run.name / "tables", ignore_errors=True)
    ill = Run(tmp_path / run.name)
    model = ill[1].model()
    with torch.no_grad():
        for name, used in used_weights(model, 1).items():
            weight = dict(model.named_parameters())[name]
            weight.copy_(torch.where(used, weight, 0.9 * weight))
    Snapshot.write(ill[1].path, model, {})
    found = last(ill)
    assert found["off_mask"] == pytest.approx(0.1, rel=1e-4)
    assert found["displacement"] == pytest.approx(0.1, rel=1e-4)
    assert found["overlap"] == 0


def test_a_model_per_task_is_refused(tiny, tmp_path):
    run = fit(tiny.replace(strategy="single"), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="models keep the classes of earlier tasks"):
        measure_subnetworks(run)


def test_the_drop_stands_beside_what_was_done_and_is_drawn(runs):
    some = [runs[key] for key in ("free", "disjoint", "packnet")]
    scoring = Scoring(metric="image_auroc", part="product", size=32)
    evaluated = evaluate(some, scoring=scoring)
    beside = subnetworks_beside(measure_subnetworks(some), evaluated)
    assert beside["strategy"].tolist() == ["sparse", "sparse", "packnet"]
    assert (beside["task"] == 0).all() and beside["method"].nunique() == 3
    for row, run in zip(beside.itertuples(), some):
        own = evaluated[(evaluated["run"] == run.name) & (evaluated["task"] == 0)]
        first, end = (own[own["step"] == step]["value"].mean() for step in (0, 1))
        assert row.drop == pytest.approx(first - end)
        found = last(run)
        for name in ("displacement", "overlap", "touched", "off_mask", "biases"):
            assert getattr(row, name) == found[name]
    ax = plot_subnetworks(beside)
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert np.allclose([line.get_xdata()[0] for line in points], beside["displacement"])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[2] == "PackNet" and "sparse training" in labels[0]
