"""A category whose test images are all of one class has no part in any conclusion, and
keeps none from being drawn, whatever is measured.
"""

import logging
import shutil
from collections.abc import Callable
from functools import partial

import pandas as pd
import pytest

from analysis import diagnose, scoring
from analysis.alignment import alignment_table, measure_alignment
from analysis.expansion import expansion_drops, expansion_terms, measure_expansion
from analysis.intervals import Resampling
from analysis.judgement import (
    VERDICTS,
    evidence,
    first_step_shares,
    measure_first_steps,
    verdicts,
)
from analysis.ledger import (
    ledger_families,
    ledger_shapley,
    ledger_shares,
    ledger_terms,
    measure_ledger,
    transplant,
    transplant_levels,
)
from analysis.recovery import (
    measure_recovery,
    recovery_changes,
    recovery_curves,
    recovery_halves,
    savings,
)
from analysis.scoring import Scoring
from analysis.witnesses import (
    accessibility_terms,
    measure_accessibility,
    measure_learning,
    measure_path,
    measure_traces,
    path_barriers,
    path_levels,
    relative_forgetting,
    trace_leads,
)
from cl_flow import Run, fit

FEW = Resampling(n_resamples=20)
SCORING = Scoring(metric="image_auroc", part="product", size=16)
CASES = {
    "ledger": (
        partial(measure_ledger, family=("full",), scoring=SCORING),
        (
            ledger_terms,
            partial(ledger_terms, by="category"),
            ledger_shares,
            ledger_shapley,
            ledger_families,
            evidence,
            verdicts,
        ),
    ),
    "transplants": (
        partial(transplant, side="first", centers="old", scoring=SCORING),
        (transplant_levels,),
    ),
    "recovery": (
        partial(measure_recovery, steps=(0, 1), shots=(2,), scoring=SCORING),
        (recovery_curves, recovery_changes, savings),
    ),
    "halves": (
        partial(measure_recovery, steps=(0, 1), shots=(2,), scoring=SCORING),
        (lambda rows, resampling: recovery_halves(rows),),
    ),
    "first steps": (
        partial(measure_first_steps, n_steps=(1,), shots=2, scoring=SCORING),
        (first_step_shares,),
    ),
    "alignment": (
        partial(measure_alignment, aligner="refit", scoring=SCORING),
        (alignment_table,),
    ),
    "expansion": (
        partial(measure_expansion, placement=("tile", "orthogonal"), scoring=SCORING),
        (expansion_drops, expansion_terms),
    ),
    "accessibility": (
        partial(measure_accessibility, n_images=4, scoring=SCORING),
        (accessibility_terms,),
    ),
    "learning": (
        partial(measure_learning, scoring=SCORING),
        (relative_forgetting,),
    ),
    "path": (
        partial(measure_path, points=(0.0, 1.0), units="trained", scoring=SCORING),
        (path_levels, path_barriers),
    ),
    "traces": (
        partial(measure_traces, test_every=2, n_draws=64, scoring=SCORING),
        (partial(trace_leads, n_start=2, patience=1),),
    ),
}


@pytest.fixture(scope="module", params=["test/good", "test/blot"])
def one_class(request, tiny, tmp_path_factory) -> Run:
    """A run that learned `bee` in its first task, and lacks test images of one kind."""
    root = tmp_path_factory.mktemp("photographs") / "images"
    shutil.copytree(tiny.root, root)
    shutil.rmtree(root / "bee" / request.param)
    folder = tmp_path_factory.mktemp("runs")
    return fit(tiny.replace(root=str(root)), folder=folder, progress=False)


@pytest.mark.parametrize("case", CASES)
def test_it_is_named_once_and_counts_nowhere(one_class, case, caplog):
    measure, conclusions = CASES[case]
    scoring._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        measured = measure(one_class)
    assert sum(one.startswith("bee has no") for one in caplog.messages) <= 1
    whole = measured.dropna(subset="value")
    assert set(measured.loc[measured["value"].isna(), "category"]) <= {"bee"}
    assert {"ant", "cat"} <= set(whole["category"])
    for conclude in conclusions:
        check(conclude, measured, whole)


def check(conclude: Callable, measured: pd.DataFrame, whole: pd.DataFrame) -> None:
    """A conclusion is what it is of the other categories, and says something."""
    found = conclude(measured, resampling=FEW)
    pd.testing.assert_frame_equal(found, conclude(whole, resampling=FEW))
    assert found.select_dtypes("number").notna().any(axis=None)


def test_the_run_is_diagnosed(one_class):
    report = diagnose(one_class, resampling=FEW)
    assert report.verdict in VERDICTS and report.sentence
    assert set(report.tables["categories"]["category"]) == {"ant", "cat"}
    assert len(diagnose([one_class], resampling=FEW)) == 1


def test_where_no_category_is_whole_that_is_said(one_class):
    measured = measure_ledger(one_class, family=("full",), scoring=SCORING)
    bee = measured[measured["category"] == "bee"]
    with pytest.raises(ValueError, match="both normal and anomalous .*; got bee"):
        ledger_terms(bee, resampling=FEW)
