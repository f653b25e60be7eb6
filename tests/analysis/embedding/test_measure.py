"""Followed patches: which they are, what is measured on them, and pictures that must
not be believed.
"""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from analysis.embedding.conclude import apparent_drift
from analysis.embedding.layouts import METHODS
from analysis.embedding.measure import latent_facts, measure_embedding
from analysis.embedding.say import summarise_embedding
from cl_flow import Run, Snapshot, fit
from cl_flow.data.images import read_mask

SMALL = {"n_patches": 12, "n_neighbors": 8, "n_epochs": 50}


@pytest.fixture(scope="module")
def untrained(tiny, tmp_path_factory):
    config = tiny.replace(train=dataclasses.replace(tiny.train, epochs=0))
    return fit(config, folder=tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def embedded(run):
    """The patches by a method that only looks at two coordinates: what is embedded does
    not hang on UMAP.
    """
    METHODS("coordinates")(lambda slices, **options: [s.points[:, :2] for s in slices])
    yield measure_embedding(run, method="coordinates", **SMALL)
    del METHODS["coordinates"]


def test_every_step_holds_the_same_patches_and_the_centers_known(embedded, run):
    keys = ["category", "label", "image", "cell"]
    patches = embedded[embedded["label"] != "center"]
    first, last = (
        patches.loc[patches["step"] == step, keys].reset_index(drop=True)
        for step in (0, 1)
    )
    pd.testing.assert_frame_equal(first, last)
    assert not first.duplicated().any()
    centers = (
        embedded[embedded["label"] == "center"].groupby("step")["category"].apply(tuple)
    )
    assert list(centers) == [run[0].categories, run[1].categories]
    known = embedded[embedded["step"] == 0].groupby("category")["known"].all()
    assert list(known.index[known]) == ["ant", "bee", "cat"]
    assert np.isfinite(embedded[["x", "y"]]).all(axis=None)


def test_a_quarter_of_the_patches_touches_a_defect(embedded, run):
    patches = embedded[(embedded["label"] != "center") & (embedded["step"] == 0)]
    counts = patches.groupby(["category", "label"]).size().unstack()
    assert (counts["normal"] == 9).all()
    assert (counts["anomalous"] == 3).all()
    assert (
        patches.loc[patches["label"] == "normal", "image"].str.startswith("good/").all()
    )
    samples = run.features.samples
    height, width = run.features.grids[-1]
    for row in patches[patches["label"] == "anomalous"].itertuples():
        found = samples["image_path"].str.endswith(f"{row.category}/test/{row.image}")
        mask = read_mask(samples.loc[found, "mask_path"].item(), (32, 32))
        y, x = divmod(row.cell, width)
        assert mask[
            y * 32 // height : (y + 1) * 32 // height,
            x * 32 // width : (x + 1) * 32 // width,
        ].any()


def test_where_nothing_is_learnt_nothing_moves(untrained):
    facts = latent_facts(untrained, n_patches=12, k=5)
    later = facts[facts["step"] == 1]
    np.testing.assert_array_equal(later["overlap"], 1)
    np.testing.assert_array_equal(later["drift"], 0)
    np.testing.assert_allclose(later["drift_rigid"], 0, atol=1e-5)
    np.testing.assert_array_equal(facts.groupby("task")["purity"].nunique(), 1)


def test_a_shift_of_all_latents_moves_them_off_their_centers_and_nothing_else(
    untrained, tmp_path
):
    shutil.copytree(untrained.folder, tmp_path / "shifted")
    shifted = Run(tmp_path / "shifted")
    model = shifted[1].model()
    with torch.no_grad():
        model.levels[-1].flow.module_list[-1].global_offset += 100.0
    Snapshot.write(shifted[1].path, model, {})
    shutil.rmtree(shifted.folder / "tables", ignore_errors=True)
    before, after = (
        latent_facts(one, n_patches=12, k=5).query("step == 1")
        for one in (untrained, shifted)
    )
    assert (after["drift"] > 10).all()
    np.testing.assert_allclose(after["drift_rigid"], 0, atol=1e-3)
    np.testing.assert_allclose(after["overlap"], 1, atol=0.05)
    np.testing.assert_allclose(after["purity"], before["purity"], atol=0.05)
    assert (after["normal_distance"] > 10 * before["normal_distance"]).all()


def test_facts_are_what_scikit_learn_finds(run, embedded):
    facts = latent_facts(run, n_patches=12, k=5).set_index(["step", "task"])
    rows = embedded.query("step == 1 and label == 'normal'").reset_index(drop=True)
    z, mu = latents_of(rows, run)
    category, known = rows["category"].to_numpy(), np.array(run[1].categories)
    near = (
        NearestNeighbors(n_neighbors=6)
        .fit(z)
        .kneighbors(z, return_distance=False)[:, 1:]
    )
    distances = np.linalg.norm(z[:, None] - mu, axis=-1)
    own = distances[np.arange(len(z)), [list(known).index(name) for name in category]]
    values = {
        "purity": (category[near] == category[:, None]).mean(1),
        "own_center": known[distances.argmin(1)] == category,
        "normal_distance": own,
    }
    expected = pd.DataFrame(values).groupby(rows["task"]).mean()
    np.testing.assert_allclose(
        facts.loc[1][list(values)].astype(float), expected, rtol=1e-5
    )
    assert facts.loc[0, "own_center"].notna().tolist() == [True, False]
    assert facts.loc[0, "overlap"].isna().all()


@torch.inference_mode()
def latents_of(rows, run):
    """Latents of the patches in the rows and the centers, from whole images."""
    samples, model = run.features.samples, run[1].model()
    z = []
    for row in rows.itertuples():
        place = np.flatnonzero(
            samples["image_path"].str.endswith(f"{row.category}/test/{row.image}")
        )
        z.append(model.levels[-1](run.features.read(place)[-1][0].float())[0][row.cell])
    return torch.stack(z).numpy(), model.levels[-1].mixture.mu.numpy()


def test_features_are_the_same_at_every_step_and_have_no_centers(run):
    same = latent_facts(run, space="features", n_patches=12, k=5)
    np.testing.assert_array_equal(same.loc[same["step"] == 1, "overlap"], 1)
    assert same["own_center"].isna().all()


def test_colours_that_differ_make_pure_neighbourhoods(tiny, run):
    """The tiny categories are colours: in the backbone's eyes a patch's neighbours are
    of its own.
    """
    assert latent_facts(run, space="features", n_patches=16, k=3)["purity"].min() > 0.6


@pytest.mark.slow
def test_independent_pictures_fake_a_drift_that_joint_ones_do_not(run):
    methods = ("independent", "joint")
    drift = apparent_drift(
        pd.concat(
            [
                measure_embedding(run, method=m, space="features", **SMALL)
                for m in methods
            ]
        )
    )
    seen = drift.set_index("method")["drift"]
    assert seen["joint"] == 0
    assert seen["independent"] > 0.05
    assert "independent" in summarise_embedding(
        latent_facts(run, n_patches=12, k=5), drift
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_embeds_every_step(run, method):
    table = measure_embedding(run, method=method, **SMALL)
    assert (table.groupby("step").size() == [75, 78]).all()
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert set(table["method"]) == {method}


@pytest.mark.slow
def test_one_step_can_be_aligned_with_itself(tiny, tmp_path):
    joint = fit(tiny.replace(strategy="joint"), folder=tmp_path, progress=False)
    assert set(measure_embedding(joint, method="aligned", **SMALL)["step"]) == {0}
    assert apparent_drift(measure_embedding(joint, method="aligned", **SMALL)).empty


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"method": "tsne"}, KeyError, "method 'tsne'; known: aligned, .*joint"),
    ({"space": "pixels"}, KeyError, "space 'pixels'; known: latents, features"),
    ({"level": 2}, ValueError, "level below 2"),
    ({"n_patches": 0}, ValueError, r"n_patches=…\) 1 or more"),
    ({"n_neighbors": 500, "n_patches": 4}, ValueError, "n_neighbors < "),
])  # fmt: skip
def test_wrong_input_is_named(run, options, error, words):
    with pytest.raises(error, match=words):
        measure_embedding(run, **options)


def test_more_neighbours_than_patches_are_refused(run):
    with pytest.raises(ValueError, match="k < .* normal patches; got k = 999"):
        latent_facts(run, n_patches=4, k=999)
