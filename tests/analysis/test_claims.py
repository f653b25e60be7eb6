"""Every claim of the slides has a number of theirs or none, a measurement and a
control.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.claims import CLAIMS, claims_page, measure_claims
from analysis.detection import evaluate, r_matrix
from analysis.studies import Study

ROLES = ("measured", "control")


def planted(study: str, offset: float) -> pd.DataFrame:
    rows = [
        (study, name, role, value, value - 0.05, value + 0.05)
        for i, name in enumerate(CLAIMS)
        for j, role in enumerate(ROLES)
        for value in (offset + 0.01 * i + 0.1 * j,)
    ]
    return pd.DataFrame(
        rows, columns=["study", "claim", "role", "value", "low", "high"]
    )


def test_a_page_sets_each_study_beside_its_control():
    both = pd.concat([planted("drawn", 0.5), planted("photos", 0.3)])
    page = claims_page(both, {"drawn": "drawings"}).splitlines()
    assert page[0].count("drawings") == page[0].count("photos") == 2
    assert len(page) == 2 + len(CLAIMS)
    first = page[2].split(" | ")
    assert first[3:5] == [".500 [.450, .550]", ".300 [.250, .350]"]
    assert [cell.strip(" |") for cell in first[6:]] == [
        ".600 [.550, .650]",
        ".400 [.350, .450]",
    ]


def test_nothing_has_no_sign():
    table = planted("drawn", 0.5)
    table.loc[0, ["value", "low", "high"]] = [-0.0001, -0.002, 0.0]
    assert "| .000 [-.002, .000] |" in claims_page(table)


def test_a_share_of_nothing_is_a_dash():
    table = planted("drawn", 0.5)
    table.loc[0, ["value", "low", "high"]] = np.nan
    assert "| – [–, –] |" in claims_page(table)


def test_the_slides_numbers_are_read_and_not_typed():
    published = {name: claim.published for name, claim in CLAIMS.items()}
    assert published["collapse"] == ".644" and published["newest"] == ".970"
    assert published["expansion"] == ".975 to .851"
    assert published["step"] == ".555 to .851"
    assert published["replay"] == ".646 to .952"


@pytest.mark.slow
def test_every_claim_is_measured_on_the_runs_of_a_study(tiny):
    plan = Study("tiny", tiny, (0,))
    measured = measure_claims(plan)
    keys = ["claim", "role"]
    assert not measured.duplicated(keys).any()
    assert set(measured["claim"]) == set(CLAIMS) and set(measured["role"]) == set(ROLES)
    final = r_matrix(evaluate(plan.fit("finetune")))[-1]
    by_key = measured.set_index(keys)["value"]
    assert by_key["collapse", "measured"] == pytest.approx(final.mean())
    assert by_key["newest", "measured"] == pytest.approx(final[-1])
    assert by_key["expansion", "control"] == 0.0
    told = measured.dropna()
    assert (told["low"] <= told["value"]).all() and (
        told["value"] <= told["high"]
    ).all()
