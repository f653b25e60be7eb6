"""Extraction equals the backbone, is resumed, cached by what decides it, and refuses
what cannot work.
"""

import dataclasses
import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import timm
import torch

import cl_flow.data.inference as module
from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.extraction import fingerprint, load_features
from cl_flow.data.features import union
from cl_flow.data.images import read_image, read_pixels
from cl_flow.data.inference import transforms
from cl_flow.devices import threads
from cl_flow.runs.config import load_samples

PYRAMID = FeatureConfig(
    "test_resnet", weights="random", image_size=64, scales=(1, 2), out_indices=(1, 2)
)


@pytest.fixture
def samples(tiny):
    return load_samples(tiny)


def test_features_are_those_of_the_backbone(samples, tmp_path):
    features = load_features(
        samples, PYRAMID, root=tmp_path, progress=False, batch_size=7
    )
    assert features.grids == ((16, 16), (8, 8), (8, 8), (4, 4)) and len(
        features
    ) == len(samples)

    as_is = dataclasses.replace(
        PYRAMID, image_size=32, scales=(1,)
    )  # the images' own size: nothing is resampled
    features = load_features(
        samples, as_is, root=tmp_path, progress=False, batch_size=7
    )
    model, facts = load_backbone(as_is)
    x = (
        torch.from_numpy(
            np.asarray(read_image(samples["image_path"][40])).copy()
        ).permute(2, 0, 1)[None]
        / 255
    )
    x = (x - torch.tensor(facts["mean"]).view(3, 1, 1)) / torch.tensor(
        facts["std"]
    ).view(3, 1, 1)
    with torch.no_grad():
        expected = [level.flatten(2).mT[0].half() for level in model(x)]
    for level, values in zip(features.levels, expected):
        torch.testing.assert_close(
            torch.tensor(level[40]), values, rtol=2e-3, atol=1e-4
        )


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_extraction_goes_on_where_it_stopped(
    samples, tmp_path, monkeypatch, after
):
    whole = load_features(
        samples,
        PYRAMID,
        root=tmp_path / "whole",
        device="cpu",
        progress=False,
        batch_size=8,
    )
    forward, calls = module.forward, []

    def interrupted(model, images, *how):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(len(images))
        return forward(model, images, *how)

    monkeypatch.setattr(module, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt), threads(1):
        load_features(
            samples,
            PYRAMID,
            root=tmp_path / "cut",
            device="cpu",
            progress=False,
            batch_size=8,
        )
    monkeypatch.setattr(
        module,
        "forward",
        lambda *args: (calls.append(len(args[1])), forward(*args))[1],
    )
    calls.clear()
    again = load_features(
        samples,
        PYRAMID,
        root=tmp_path / "cut",
        device="cpu",
        progress=False,
        batch_size=8,
    )
    assert sum(calls) == len(samples) - 8 * after
    for a, b in zip(whole.levels, again.levels):
        assert np.array_equal(a, b)


def test_an_extraction_that_was_cut_after_its_last_image_needs_no_backbone(
    samples, tmp_path, monkeypatch
):
    whole = load_features(samples, PYRAMID, root=tmp_path, device="cpu", progress=False)
    (whole.folder / "complete.json").unlink()
    monkeypatch.setattr(module, "forward", None)
    again = load_features(samples, PYRAMID, root=tmp_path, device="cpu", progress=False)
    assert again.grids == whole.grids and all(
        np.array_equal(a, b) for a, b in zip(whole.levels, again.levels)
    )


def test_a_backbone_that_keeps_what_its_layers_gave_infers_alone(
    samples, tmp_path, monkeypatch
):
    hooked = FeatureConfig(
        "pit_ti_224.in1k",
        weights="random",
        image_size=224,
        scales=(1,),
        out_indices=(0,),
    )
    model, facts = load_backbone(hooked)
    assert isinstance(model, timm.models.FeatureHookNet)
    at_work, most, forward = [0], [0], module.forward

    def counted(*args):
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        values = forward(*args)
        at_work[0] -= 1
        return values

    monkeypatch.setattr(module, "forward", counted)
    paths = list(samples["image_path"][:6])
    with threads(3):
        both = [
            list(module.infer(hooked, model, facts, paths, torch.device("cpu"), n))
            for n in (2, 6)
        ]
    assert most[0] == 1 and [sum(len(x[0]) for x in batches) for batches in both] == [
        6,
        6,
    ]


def test_features_are_the_same_on_any_number_of_cores_each_of_which_computes_alone(
    samples, tmp_path, monkeypatch
):
    forward, cores, features = module.forward, [], []
    monkeypatch.setattr(
        module,
        "forward",
        lambda *args: (cores.append(torch.get_num_threads()), forward(*args))[1],
    )
    for n in (1, 2, 3):
        with threads(n):
            folder = tmp_path / str(n)
            features.append(
                load_features(
                    samples,
                    PYRAMID,
                    root=folder,
                    device="cpu",
                    progress=False,
                    batch_size=7,
                )
            )
            with ThreadPoolExecutor(1) as fresh:
                assert (
                    torch.get_num_threads()
                    == n
                    == fresh.submit(torch.get_num_threads).result()
                )
    assert set(cores) == {1}
    for other in features[1:]:
        assert all(
            np.array_equal(a, b) for a, b in zip(features[0].levels, other.levels)
        )


def test_features_are_the_same_on_any_number_of_threads():
    model, _ = load_backbone(PYRAMID)
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = []
    for n in (1, 2):
        with threads(n):
            features.append(module.forward(model, images, PYRAMID.scales))
    assert all(torch.equal(one, two) for one, two in zip(*features))


def test_what_is_begun_ahead_stays_in_order_and_is_left_with_who_leaves():
    begun = []

    def work(i: int) -> int:
        begun.append(i)
        time.sleep(0.002 * (3 - i % 3))
        return i

    with module.workers(3) as pool:
        assert (
            list(module.ahead(pool, work, range(20), 6))
            == list(range(20))
            == sorted(begun)
        )
    begun.clear()
    with module.workers(2) as pool:
        assert next(module.ahead(pool, work, iter(range(1000)), 400)) == 0
    assert len(begun) < 100


def test_a_second_call_reads_the_maps_and_never_the_images(
    samples, tmp_path, monkeypatch
):
    load_features(samples, PYRAMID, root=tmp_path, progress=False)
    monkeypatch.setattr(module, "forward", None)
    monkeypatch.setattr(timm, "create_model", None)
    features = load_features(samples, PYRAMID, root=tmp_path, progress=False)
    assert all(
        isinstance(level, np.memmap) and level.dtype == np.float16
        for level in features.levels
    )


def test_the_cache_is_keyed_by_what_decides_it(samples, tmp_path):
    folders = {
        load_features(samples, config, root=tmp_path, progress=False).folder
        for config in (
            PYRAMID,
            dataclasses.replace(PYRAMID, image_size=32),
            dataclasses.replace(PYRAMID, scales=(1,)),
        )
    }
    assert len(folders) == 3
    before = fingerprint(samples)
    copy = samples.copy()
    changed = tmp_path / "changed.png"
    image = np.asarray(read_image(samples["image_path"][0])).copy()
    image[0, 0, 0] ^= 1
    from PIL import Image

    Image.fromarray(image).save(changed)
    shutil.copy(samples["image_path"][0], tmp_path / "000.png")
    copy.loc[0, "image_path"] = str(tmp_path / "000.png")
    assert fingerprint(copy) == before, "a copy elsewhere is the same data"
    shutil.copy(changed, tmp_path / "000.png")
    assert fingerprint(copy) != before, "one pixel makes other data"


def test_a_disk_too_small_is_refused_with_the_estimate(samples, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"Expected .* GB of free disk.*CL_FLOW_DATA"):
        load_features(samples, PYRAMID, root=tmp_path, progress=False)


def test_wrong_input_is_named(samples, tmp_path):
    with pytest.raises(ValueError, match=r"batch_size=…\) 1 or more; got 0"):
        load_features(samples, PYRAMID, root=tmp_path, batch_size=0)
    with pytest.raises(ValueError, match="at least one sample"):
        load_features(samples[:0], PYRAMID, root=tmp_path)


def test_selections_and_unions(samples, tmp_path):
    features = load_features(samples, PYRAMID, root=tmp_path, progress=False)
    ants, bees = (
        features.where(category="ant", split="train"),
        features.where(category=["bee"], label=1),
    )
    both = union([bees, ants])
    assert both.categories == ["bee", "ant"] and len(both) == len(ants) + len(bees)
    assert np.array_equal(both.read(slice(len(bees), None))[0], ants.read()[0])
    assert [len(batch[0]) for batch in both.batches(4)] == [4, 4, 3]
    with pytest.raises(ValueError, match="selections of the same features"):
        union([])


def test_whitening_is_fitted_on_the_first_task_and_kept(samples, tmp_path):
    features = load_features(samples, PYRAMID, root=tmp_path, progress=False)
    white = features.whitened(5, fit_on=["ant", "bee"])
    assert white.dims == (5, 5, 5, 5) and white.folder.parent == tmp_path
    fitted = (
        white.where(category=["ant", "bee"], split="train")
        .read()[0]
        .flatten(0, 1)
        .double()
    )
    torch.testing.assert_close(
        fitted.mean(0), torch.zeros(5, dtype=torch.float64), atol=2e-2, rtol=0
    )
    covariance = torch.cov(fitted.T)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 0.02
    assert ((covariance.diagonal() > 0.5) & (covariance.diagonal() < 1.02)).all()
    others = white.where(category="fox", split="train").read()[0].flatten(0, 1).double()
    assert others.mean(0).abs().max() > 0.1, (
        "other categories are not centered by their own mean"
    )
    assert features.whitened(5, fit_on=["bee", "ant"]).folder == white.folder
    assert features.whitened(5, fit_on=["fox"]).folder != white.folder
    with pytest.raises(ValueError, match="images of .*'gnu'"):
        features.whitened(4, fit_on=["gnu"])


@pytest.mark.slow
def test_hgads_pyramid_has_its_published_shape(tiny, tmp_path):
    """EfficientNet-B6 at 1024 pixels: 64², 32² and 16² cells of 200 channels; weights
    do not matter for that.
    """
    samples = load_samples(tiny)[:1]
    features = load_features(
        samples, FeatureConfig(weights="random"), root=tmp_path, progress=False
    )
    assert features.grids == ((64, 64), (32, 32), (16, 16)) and features.dims == (
        200,
        200,
        200,
    )
    assert sum(level[0].nbytes for level in features.levels) == pytest.approx(
        2.15e6, rel=0.01
    )
    assert (
        json.loads((features.folder / "complete.json").read_text())["sha"] == "random"
    )


@pytest.mark.parametrize("values", [{"split": "tset"}, {"split": ["train", "val"]}])
def test_a_split_that_is_none_is_refused(samples, tmp_path, values):
    features = load_features(samples, PYRAMID, root=tmp_path, progress=False)
    with pytest.raises(KeyError, match="split train or test; got"):
        features.where(**values)
    with pytest.raises(KeyError, match="a column of dataset, category.*; got 'lable'"):
        features.where(lable=0)
    assert len(features.where(split=["train", "test"])) == len(samples)


def test_a_dataset_s_name_stays_below_the_root(samples, tmp_path):
    hostile = samples.assign(dataset="../../<b>" + 300 * "x")
    features = load_features(hostile, PYRAMID, root=tmp_path / "in", progress=False)
    assert features.folder.parent == tmp_path / "in"
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


LAST = ["swin_tiny_patch4_window7_224", "mambaout_femto"]


@pytest.mark.parametrize("backbone", LAST)
def test_a_backbone_with_channels_last_is_not_turned(samples, tmp_path, backbone):
    config = FeatureConfig(
        backbone, weights="random", image_size=224, scales=(1,), out_indices=(1,)
    )
    model, facts = load_backbone(config)
    (channels,) = model.feature_info.channels()
    features = load_features(samples[:2], config, root=tmp_path, progress=False)
    assert features.grids == ((28, 28),) and features.dims == (channels,)
    fit, normalize = transforms(config, facts)
    image = normalize(fit(read_pixels(samples["image_path"][1])))[None]
    with torch.no_grad():
        (expected,) = model(image)
    torch.testing.assert_close(
        torch.tensor(features.levels[0][1]),
        expected[0].flatten(0, 1).half(),
        rtol=2e-2,
        atol=1e-2,
    )


def test_a_backbone_that_says_another_width_is_refused(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(
        timm.models.FeatureInfo, "channels", lambda self, idx=None: [7] * 2
    )
    with pytest.raises(ValueError, match="maps of .* channels, as timm tells"):
        load_features(samples[:2], PYRAMID, root=tmp_path, progress=False)


def test_stages_that_a_backbone_lacks_are_named(samples, tmp_path):
    config = dataclasses.replace(PYRAMID, out_indices=(1, 99))
    with pytest.raises(ValueError, match=r"stages of test_resnet .*got \(1, 99\)"):
        load_features(samples[:2], config, root=tmp_path, progress=False)


@pytest.mark.parametrize("value", [1e6, np.inf, np.nan])
def test_features_beyond_half_precision_name_their_image(
    samples, tmp_path, monkeypatch, value
):
    load = load_backbone

    def broken(config):
        model, facts = load(config)
        next(model.parameters()).data[0] = float(value)
        return model, facts

    monkeypatch.setattr("cl_flow.data.extraction.load_backbone", broken)
    stem = dataclasses.replace(PYRAMID, out_indices=(0,))
    with pytest.raises(ValueError, match="half precision.*png under test_resnet"):
        load_features(samples[:2], stem, root=tmp_path, progress=False)
    assert not list(tmp_path.rglob("complete.json"))


def test_space_is_taken_before_it_is_written(samples, tmp_path, monkeypatch):
    features = load_features(samples, PYRAMID, root=tmp_path / "a", progress=False)
    for path in features.folder.glob("level*.npy"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def cannot(*arguments):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    load_features(samples, PYRAMID, root=tmp_path / "c", progress=False)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space for the features.*CL_FLOW_DATA"):
        load_features(samples, PYRAMID, root=tmp_path / "b", progress=False)
    assert not list((tmp_path / "b").rglob("level*.npy")), "no space is kept in vain"
    monkeypatch.undo()
    again = load_features(samples, PYRAMID, root=tmp_path / "b", progress=False)
    assert np.array_equal(again.levels[0], features.levels[0])


def test_whitened_features_that_cannot_be_kept_are_used(
    samples, tmp_path, monkeypatch, caplog
):
    features = load_features(samples, PYRAMID, root=tmp_path, progress=False)

    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr("cl_flow.data.features.store_levels", refuse)
    held = features.whitened(5, fit_on=["ant"])
    assert held.folder is None and "kept in memory alone: read-only" in caplog.text
    monkeypatch.undo()
    kept = features.whitened(5, fit_on=["ant"])
    assert kept.folder and np.array_equal(kept.levels[0], held.levels[0])
