"""Transport against planted maps: what is rigid, affine or affine per class is found to
be, and log p adds up.
"""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.ledger.illnesses import ILLNESSES
from analysis.ledger.moves import explained, moved_images, moved_samples, transport
from cl_flow import Run, fit

FITS = ["rigid", "affine", "class_affine"]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Run:
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=20, lr=1e-2))
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def table(run) -> pd.DataFrame:
    return transport(run, tasks=(0, 1), source=("images", "mixture"))


def wide(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    for column, value in values.items():
        table = table[table[column] == value]
    return table.pivot(
        index=["task", "source", "level", "category"],
        columns="quantity",
        values="value",
    )


def test_what_the_mixture_and_the_volume_change_is_what_log_p_changes(run, table):
    found = wide(table[table["category"] != "all"])
    np.testing.assert_allclose(
        found["mixture"] + found["volume"], found["logp"], atol=1e-12
    )
    old, new, name = run[0].model(), run[1].model(), run.tasks[0][1]
    x = run.features.where(split="train", category=name).read()[1].flatten(0, 1).float()
    with torch.no_grad():
        logp = []
        for model in (old, new):
            z, log_det = model.levels[1](x)
            logp.append(
                (model.levels[1].mixture.log_prob(z, model.class_ids([name])) + log_det)
                .mean()
                .item()
                / 12
            )
    assert found.loc[(0, "images", 1, name), "logp"] == pytest.approx(
        logp[1] - logp[0], rel=1e-3, abs=1e-4
    )


def test_the_fits_are_nested(table):
    fits = wide(table, category="all")[FITS]
    assert (fits["rigid"] <= fits["affine"] + 1e-9).all() and (
        fits["affine"] <= fits["class_affine"] + 1e-9
    ).all()
    assert (fits["class_affine"] <= 1 + 1e-9).all()


def test_the_task_just_learnt_did_not_move(table):
    rows = wide(table[table["category"] != "all"], task=1, source="images")
    assert (
        not rows[["drift", "displacement", "logp"]].to_numpy().any()
        and rows["kept"].eq(1).all()
    )
    np.testing.assert_allclose(wide(table, category="all", task=1)[FITS], 1, atol=1e-3)


def test_draws_from_the_mixture_come_back_but_for_the_tenth_that_goes_farthest(
    run, table
):
    kept = wide(table[table["category"] != "all"], source="mixture")["kept"]
    assert kept.between(0.89, 0.91).all()
    model = run[0].model()
    for one in moved_samples(
        model, copy.deepcopy(model), run.tasks[0][0], n=200, seed=1
    ):
        torch.testing.assert_close(one.new, one.old, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            one.volume, torch.zeros_like(one.volume), atol=1e-4, rtol=0
        )


def test_a_rotation_is_rigid_and_a_stretch_is_not(run):
    old = run[0].model()
    names, found = run.tasks[0], {}
    for illness in ("latents_rotated", "density_flattened"):
        new = ILLNESSES[illness](old)
        levels = zip(
            *(moved_images(old, new, run.features, name, n_images=6) for name in names)
        )
        found[illness] = [
            explained([one.old for one in level], [one.new for one in level])
            for level in levels
        ]
    for fits in found["latents_rotated"]:
        assert min(fits.values()) == pytest.approx(1, abs=1e-4)
    for fits in found["density_flattened"]:
        assert fits["rigid"] < 0.9 and fits["affine"] == pytest.approx(1, abs=1e-4)


def test_a_map_per_class_needs_the_fit_per_class():
    generator = torch.Generator().manual_seed(0)
    old = [
        torch.randn(300, 5, generator=generator, dtype=torch.float64) + 3 * k
        for k in range(2)
    ]
    maps = [torch.randn(5, 5, generator=generator, dtype=torch.float64) for _ in old]
    fits = explained(old, [z @ m for z, m in zip(old, maps)])
    assert fits["class_affine"] == pytest.approx(1) and fits["affine"] < 0.95
    bent = explained(old, [(3 * z).sin() for z in old])
    assert bent["class_affine"] < 0.9


def test_wrong_input_is_named(run):
    with pytest.raises(
        KeyError, match="Unknown source 'noise'; known: images, mixture"
    ):
        transport(run, source=("noise",))
