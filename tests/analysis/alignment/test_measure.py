"""Aligners on a run in a second, and the samplers that stand in for its patches."""

import dataclasses

import pandas as pd
import pytest
import torch

from analysis.alignment.measure import (
    ALL,
    _Bench,
    class_gaussian,
    gaussian_errors,
    measure_alignment,
)
from analysis.alignment.samplers import SAMPLERS, sampler_auc
from analysis.scoring import Scoring
from cl_flow import Run, RunConfig, fit
from cl_flow.align import GaussianStats, LawOptions
from cl_flow.model.mixture import Mixture

FAST = {
    "n_draws": 200,
    "scoring": Scoring(metric="image_auroc", part="product", size=32),
}


@pytest.fixture(scope="module")
def run(tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(tiny, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def aligned(run: Run) -> pd.DataFrame:
    return measure_alignment(run, **FAST)


def test_it_has_a_row_for_every_aligner_head_and_category(aligned, run):
    auroc = aligned[aligned["metric"] == "image_auroc"]
    assert set(aligned["aligner"]) == {*ALL, "none", "joint"}
    assert (auroc.groupby(["aligner", "head"])["category"].nunique() == 6).all()
    assert set(auroc.loc[auroc["aligner"] == "sdc", "head"]) == {"means"}
    errors = aligned[aligned["metric"] == "center_error"]
    assert set(errors["category"]) == set(run.tasks[0]) and "joint" not in set(
        errors["aligner"]
    )


def test_what_is_kept_is_counted_in_bytes(aligned, run):
    n_bytes = aligned.groupby("aligner")["n_bytes"].first()
    dims = run.features.dims
    # Places, count, weight, mean and deviation of the class, and of its component the
    # mean and half of the covariance.
    gaussians = sum(
        3 * (2 * h * w + 4 + 2 * (1 + 3 * d + d * (d + 1) // 2))
        for (h, w), d in zip(run.features.grids, dims)
    )
    assert (
        n_bytes["pushforward"] == n_bytes["transport"] == n_bytes["figmn"] == gaussians
    )
    assert n_bytes["sdc"] == n_bytes["none"] == 0
    assert 0.5 * gaussians < n_bytes["exemplars"] <= gaussians
    images = run.features.where(split="train", label=0, category=list(run.tasks[0]))
    assert n_bytes["refit"] == len(images) * sum(
        2 * h * w * d for (h, w), d in zip(run.features.grids, dims)
    )


def test_the_oracle_has_no_error_left_and_the_newest_task_keeps_its_centers(
    aligned, run
):
    error = (
        aligned[aligned["metric"] == "symmetric_kl"]
        .groupby(["aligner", "head"])["value"]
        .mean()
    )
    assert error["refit", "full"] < 0.05 < error["none", ""]
    bench = _Bench(run, LawOptions(), 200, 0)
    for name in ("sdc", "pushforward", "refit"):
        for level, mixture in zip(bench.last.levels, bench.aligned(name, "means")[0]):
            assert torch.equal(mixture.mu[3:], level.mixture.mu[3:])


def test_a_flow_that_did_not_move_needs_no_drift(run):
    """Planted: the second snapshot is the first with more centers."""
    still = run[0].model().expand_(run.tasks[1])
    bench = _Bench(run, LawOptions(), 400, 0)
    bench.__dict__["models"] = [run[0].model(), still]
    for name in ("identity", "mean_shift", "procrustes", "sdc", "ldc"):
        for level, mixture in zip(bench.last.levels, bench.aligned(name, "full")[0]):
            z = torch.randn(20, level.dim)
            torch.testing.assert_close(
                mixture.log_prob_each(z)[:, :3],
                level.mixture.log_prob_each(z)[:, :3],
                atol=5e-3,
                rtol=1e-3,
            )


def test_models_of_the_bench_are_left_as_they_were(run):
    again = measure_alignment(
        run, aligner=("pushforward",), head=("full",), joint=False, **FAST
    )
    none = again[(again["aligner"] == "none") & (again["metric"] == "image_auroc")]
    alone = measure_alignment(run, aligner="identity", joint=False, **FAST)
    assert (
        none["value"].tolist()
        == alone[(alone["aligner"] == "none") & (alone["metric"] == "image_auroc")][
            "value"
        ].tolist()
    )


def test_errors_are_those_of_gaussians(float64):
    generator = torch.Generator().manual_seed(0)
    mixture = Mixture(4, n_components=3).expand(2, generator=generator)
    mixture = mixture.framed(
        torch.eye(4) + 0.2 * torch.randn(2, 4, 4), torch.randn(2, 4)
    )
    weight, bias = (values[1] for values in mixture.frames)
    which = torch.multinomial(mixture.psi[1].softmax(0), 200_000, replacement=True)
    u = mixture.components()[1][which] + torch.randn(200_000, 4)
    drawn = GaussianStats.of(torch.linalg.solve(weight, (u - bias).T).T.detach())
    law = class_gaussian(mixture, 1)
    torch.testing.assert_close(law.mean, drawn.mean, atol=0.05, rtol=0.02)
    torch.testing.assert_close(
        law.covariance(), drawn.covariance(), atol=0.1, rtol=0.05
    )
    error, kl = gaussian_errors(law, drawn)
    assert error < 0.01 and kl < 1e-3
    moved = dataclasses.replace(
        law, mean=law.mean + law.covariance()[0].trace().sqrt() * torch.eye(4)[:1]
    )
    assert (
        gaussian_errors(moved, law)[0] == pytest.approx(1.0, abs=1e-4)
        and gaussian_errors(moved, law)[1] > 0.05
    )
    assert gaussian_errors(moved, law)[1] == pytest.approx(
        gaussian_errors(law, moved)[1]
    )


def test_a_run_without_old_classes_is_refused(tiny, tmp_path):
    joint = fit(tiny.replace(strategy="joint"), folder=tmp_path, progress=False)
    with pytest.raises(
        ValueError, match="task after task and keeps its centers.*1 steps"
    ):
        measure_alignment(joint)


# ---- samplers


def test_samplers_are_told_apart_by_how_wrong_they_are(run):
    told = sampler_auc(run, n=200)
    assert set(told["sampler"]) <= set(SAMPLERS)
    assert told["value"].between(0, 1).all() and told["finite"].between(0, 1).all()
    mean = told.groupby("sampler")["value"].mean()
    assert abs(mean["real"] - 0.5) < 0.15
    assert mean["nominal"] > mean["real"]
