"""A curve is that of the run's own training: it ends where the run's model stands."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis import evaluate
from analysis.methods import measure_curve, plot_curve
from analysis.scoring import Scoring
from cl_flow import fit

KINDS = [("flow", "joint", 0), ("uniad", "finetune", 1), ("iuf", "cumulative", 1)]


@pytest.mark.parametrize(("model", "strategy", "step"), KINDS)
def test_a_curve_ends_at_the_model_of_the_run(tiny, tmp_path, model, strategy, step):
    config = tiny.replace(model=model, strategy=strategy)
    run = fit(config, folder=tmp_path, progress=False)
    curve = measure_curve(run, step=step, every=1, scoring=Scoring(part="product"))
    assert sorted(curve["passes"].unique()) == [1, 2] and (curve["seconds"] > 0).all()
    assert curve.groupby("passes")["seconds"].first().is_monotonic_increasing
    keys = ["category", "metric"]
    last = curve[curve["passes"] == 2].set_index(keys)["value"]
    rows = evaluate(run, scoring=Scoring(part="product")).query(f"step == {step}")
    expected = rows.set_index(keys)["value"]
    assert np.array_equal(last.sort_index(), expected.sort_index())
    with pytest.raises(ValueError, match="every"):
        measure_curve(run, every=3)
    with pytest.raises(ValueError, match="step"):
        measure_curve(run, step=2)


def test_curves_are_means_over_categories_with_a_name_at_their_ends(tiny, tmp_path):
    runs = [
        fit(tiny.replace(model=name, strategy="joint"), folder=tmp_path, progress=False)
        for name in ("flow", "uniad")
    ]
    curves = measure_curve(runs, every=1)
    ax = plot_curve(curves, by="passes")
    own = curves[(curves["metric"] == "image_auroc") & (curves["run"] == runs[1].name)]
    means = own.groupby("passes")["value"].mean()
    assert np.allclose(ax.lines[1].get_xydata(), [[1, means[1]], [2, means[2]]])
    names = {text.get_text() for text in ax.texts}
    assert names == {"joint training", "UniAD: joint training"}
    assert (
        plot_curve(curves, ax=plt.figure().gca()).get_xlabel() == "seconds of training"
    )
