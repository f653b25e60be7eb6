"""A trained model is made ill in known ways, and the ledger must say yes to each
illness and no to none.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.intervals import Resampling
from analysis.ledger.attribution import TERMS
from analysis.ledger.conclude import ledger_families, ledger_shares, ledger_terms
from analysis.ledger.illnesses import ILLNESSES, planted
from analysis.ledger.measure import counterfactuals
from analysis.scoring import Scoring
from cl_flow import FlowModel, fit
from tests.analysis.turned import CLASSES, DIM, SCORING, drawn, trained

FAMILIES = ("means", "full", "affine")


@pytest.fixture(scope="session")
def healthy() -> FlowModel:
    return trained()


def diagnosed(
    healthy: FlowModel, defect: str, illness: tuple[str, ...]
) -> pd.DataFrame:
    options = {"family": FAMILIES, "scoring": SCORING}
    frames = [
        counterfactuals(
            healthy, ILLNESSES[name](healthy), drawn(defect), CLASSES, **options
        ).assign(illness=name)
        for name in illness
    ]
    return pd.concat(frames, ignore_index=True).assign(
        strategy="planted", step=0, task=0, given="category"
    )


@pytest.fixture(scope="module")
def turned(healthy) -> pd.DataFrame:
    return diagnosed(healthy, "turned", tuple(ILLNESSES))


@pytest.fixture(scope="module")
def between(healthy) -> pd.DataFrame:
    return diagnosed(healthy, "between", ("blocks_reset", "density_flattened"))


def share(
    measured: pd.DataFrame, illness: str, part: str, *, family: str = "full"
) -> pd.Series:
    rows = measured[(measured["illness"] == illness) & (measured["part"] == part)]
    return ledger_shares(
        rows, family=family, by="all", resampling=Resampling(n_resamples=200)
    ).iloc[0]


def terms(
    measured: pd.DataFrame, illness: str, part: str, *, family: str = "full"
) -> pd.DataFrame:
    rows = measured[(measured["illness"] == illness) & (measured["part"] == part)]
    return ledger_terms(
        rows, family=family, by="all", resampling=Resampling(n_resamples=200)
    ).set_index("term")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", ["logp", "entropy", "product"])
def test_where_nothing_was_done_nothing_is_found(turned, family, part):
    found = terms(turned, "nothing", part, family=family)
    assert not found.loc[[*TERMS, "drop"], ["value", "low", "high"]].any(axis=None)
    assert np.isnan(share(turned, "nothing", part, family=family)["spurious_share"])


@pytest.mark.parametrize("part", ["logp", "product"])
def test_translated_centers_are_all_center_drift(turned, part):
    found = terms(turned, "centers_translated", part)
    assert (
        found.loc["drop", "low"] > 0.1
        and found.loc["center drift", "value"] == found.loc["drop", "value"]
    )
    assert share(turned, "centers_translated", part)["spurious_share_low"] > 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_rotated_latents_are_all_alignment_that_no_untrained_flow_has(turned, family):
    found = terms(turned, "latents_rotated", "logp", family=family)
    assert found.loc["drop", "low"] > 0 and abs(found.loc["residual", "value"]) < 0.03
    shares = share(turned, "latents_rotated", "logp", family=family)
    assert shares["spurious_share"] > 0.9 and shares["reminded_share"] > 0.9
    assert found.loc["confusion", "value"] == found.loc["center drift", "value"] == 0


@pytest.mark.parametrize("part", ["logp", "product"])
@pytest.mark.parametrize("family", ["full", "affine"])
def test_reset_blocks_are_residual_where_the_flow_was_needed(turned, part, family):
    found = terms(turned, "blocks_reset", part, family=family)
    assert found.loc["drop", "low"] > 0.2 and found.loc["residual", "low"] > 0.2
    assert share(turned, "blocks_reset", part, family=family)["spurious_share"] < 0.2


def test_where_any_gaussian_would_do_only_the_control_tells_what_the_refit_taught(
    between,
):
    shares = share(between, "blocks_reset", "product")
    assert shares["spurious_share"] > 0.9 and shares["reminded_share"] < 0.2


def test_a_confusable_class_is_all_confusion_and_none_of_it_in_the_likelihood(turned):
    found = terms(turned, "confusable_class", "product")
    assert (
        found.loc["drop", "low"] > 0
        and found.loc["confusion", "value"] == found.loc["drop", "value"]
    )
    assert share(turned, "confusable_class", "product")["spurious_share_low"] > 0.9
    assert (
        not terms(turned, "confusable_class", "logp")
        .loc[[*TERMS], ["value", "low", "high"]]
        .any(axis=None)
    )


def test_a_flattened_density_needs_a_covariance(between):
    assert terms(between, "density_flattened", "entropy").loc["drop", "low"] > 0
    by_family = {
        name: share(between, "density_flattened", "entropy", family=name)
        for name in FAMILIES
    }
    assert (
        by_family["means"]["spurious_share"]
        < 0.2
        < 0.8
        < by_family["full"]["spurious_share"]
    )
    assert by_family["affine"]["spurious_share"] > 0.8
    levels = ledger_families(between, by="all", resampling=Resampling(n_resamples=50))
    levels = levels[
        (levels["illness"] == "density_flattened") & (levels["part"] == "entropy")
    ]
    new = levels[levels["flow"] == "new"].set_index("family")["value"]
    assert new["full"] > new["means"] + 0.1


def test_every_illness_harms_what_it_says_and_leaves_the_model_alone(healthy):
    before = {name: value.clone() for name, value in healthy.state_dict().items()}
    harmed = {name: harm(healthy) for name, harm in ILLNESSES.items()}
    assert all(
        torch.equal(value, before[name]) for name, value in healthy.state_dict().items()
    )
    x = drawn("turned").read()[0].flatten(0, 1).float()
    z, log_det = healthy.levels[0](x)
    for name in ("nothing", "centers_translated", "confusable_class"):
        assert torch.equal(harmed[name].levels[0](x)[0], z), name
    turned_z, turned_log_det = harmed["latents_rotated"].levels[0](x)
    torch.testing.assert_close(
        torch.cdist(turned_z[:50], turned_z[:50]),
        torch.cdist(z[:50], z[:50]),
        rtol=1e-3,
        atol=1e-2,
    )
    torch.testing.assert_close(turned_log_det, log_det)
    flat, flat_log_det = harmed["density_flattened"].levels[0](x)
    torch.testing.assert_close(
        log_det - flat_log_det,
        torch.full_like(log_det, DIM // 2 * np.log(10)),
        rtol=1e-3,
        atol=1e-3,
    )
    assert flat.var(0).sum() < z.var(0).sum()
    back, _ = harmed["density_flattened"].levels[0].inverse(flat)
    torch.testing.assert_close(back, x, rtol=1e-2, atol=1e-2)


def test_planted_is_the_same_on_a_run(tiny, tmp_path):
    run = fit(tiny, folder=tmp_path, progress=False)
    found = planted(
        run,
        illness=("nothing", "confusable_class"),
        family=("means",),
        scoring=Scoring(metric="image_auroc", part="logp", size=16),
    )
    assert set(found["illness"]) == {"nothing", "confusable_class"} and set(
        found["category"]
    ) == set(run.tasks[0])
    split = ledger_terms(
        found, family="means", by="category", resampling=Resampling(n_resamples=20)
    )
    assert (
        len(split) == 2 * 3 * (2 + len(TERMS) + 3)
        and not split.query("term == 'drop'")["value"].any()
    )
    with pytest.raises(KeyError, match="Unknown illness 'flu'; known: .*nothing"):
        planted(run, illness=("flu",))
