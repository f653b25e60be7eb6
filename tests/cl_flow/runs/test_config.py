"""A run keeps its name: whatever is added, spelled out, or lies elsewhere."""

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_flow import STRATEGIES, FlowConfig, RunConfig, TrainConfig
from cl_flow.runs import fingerprints
from cl_flow.strategies import Strategy


@dataclass(frozen=True)
class WiderTraining(TrainConfig):
    added: float = 0.5


@dataclass(frozen=True)
class Wider(RunConfig):
    train: WiderTraining = field(default_factory=WiderTraining)
    added: tuple[str, ...] = ()


def shallow(config) -> dict:
    """Fields of a dataclass and their values, as they are."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def test_a_field_that_is_added_with_a_default_changes_no_name(tiny):
    values = shallow(tiny)
    training = WiderTraining(**shallow(tiny.train))
    assert Wider(**values | {"train": training}).name == tiny.name
    assert Wider(**values | {"train": training, "added": ("x",)}).name != tiny.name


def test_a_stream_with_boundaries_has_the_name_of_ever(tiny):
    plain = dataclasses.replace(tiny.stream, blur=0.0)
    assert tiny.replace(stream=plain).name == tiny.name
    assert "blur" not in json.dumps(tiny.identity())
    blurred = dataclasses.replace(tiny.stream, blur=0.5)
    assert tiny.replace(stream=blurred).identity()["stream"]["blur"] == 0.5
    assert tiny.replace(stream=blurred).name != tiny.name


def test_old_centers_are_not_frozen_while_their_images_come(tiny):
    blurred = dataclasses.replace(tiny.stream, blur=0.5)
    with pytest.raises(ValueError, match="centers='train' on .* blur=0.5, .*'freeze_o"):
        tiny.replace(stream=blurred, centers="freeze_old")


def test_an_option_that_is_added_with_a_default_changes_no_name(tiny, monkeypatch):
    class Before(Strategy):
        def __init__(self, *, strength: float = 1.0) -> None:
            super().__init__()

    class After(Strategy):
        def __init__(self, *, strength: float = 1.0, added: int = 4) -> None:
            super().__init__()

    names = []
    for version in (Before, After):
        monkeypatch.setitem(STRATEGIES, "growing", version)
        config = tiny.replace(strategy="growing", options={"strength": 3})
        names.append(config.name)
    assert names[0] == names[1]


@pytest.mark.parametrize(("one", "other"), [
    ({"strength": 10}, {"strength": 10.0}),
    ({"strength": np.float64(10)}, {"strength": 10.0}),
    ({}, None),
])  # fmt: skip
def test_the_same_option_in_other_words_is_the_same_run(tiny, one, other):
    ewc = tiny.replace(strategy="ewc")
    if other is None:
        other = ewc.all_options
    assert ewc.replace(options=one).name == ewc.replace(options=other).name


def test_the_same_number_of_another_type_is_the_same_run(tiny):
    training = dataclasses.replace(tiny.train, lr=np.float64(tiny.train.lr), warmup=0)
    spelled = dataclasses.replace(tiny.train, warmup=0.0)
    assert tiny.replace(train=training).name == tiny.replace(train=spelled).name
    flow = dataclasses.replace(tiny.flow, n_blocks=np.int64(tiny.flow.n_blocks))
    assert tiny.replace(flow=flow).name == tiny.name


@pytest.mark.parametrize("changes", [
    {"seed": 1},
    {"strategy": "joint"},
    {"whiten": None},
    {"centers": "freeze_old"},
    {"flow": FlowConfig(n_blocks=3)},
    {"train": TrainConfig(lr=5e-4)},
])  # fmt: skip
def test_another_run_has_another_name(tiny, changes):
    assert tiny.replace(**changes).name != tiny.name


def test_the_same_photographs_elsewhere_are_the_same_run(tiny, tmp_path):
    copy = tmp_path / "tiny-elsewhere"
    shutil.copytree(tiny.root, copy)
    moved = tiny.replace(root=str(copy))
    assert moved.identity() == tiny.identity()


def test_another_training_image_is_another_run_and_another_test_image_is_not(
    tiny, tmp_path
):
    copy = tmp_path / Path(tiny.root).name
    shutil.copytree(tiny.root, copy)
    moved = tiny.replace(root=str(copy))
    before = moved.name
    Image.new("RGB", (32, 32)).save(copy / "ant" / "test" / "good" / "000.png")
    assert moved.name == before
    Image.new("RGB", (32, 32)).save(copy / "ant" / "train" / "good" / "000.png")
    assert moved.name != before


def test_images_are_read_once_while_no_file_changes(tiny, monkeypatch):
    before = tiny.name
    monkeypatch.setattr(fingerprints, "fingerprint", None)
    assert tiny.name == before


def test_a_former_name_of_a_strategy_is_the_same_run(tiny, monkeypatch):
    monkeypatch.setitem(STRATEGIES.renamed, "ewc-of-old", "ewc")
    assert tiny.replace(strategy="ewc-of-old").name == tiny.replace(strategy="ewc").name


def test_a_config_survives_json_with_numpy_numbers(tiny):
    config = tiny.replace(seed=np.int64(3), options={"x": np.float32(0.5)})
    assert RunConfig.from_dict(config.to_dict()) == config


def test_what_a_newer_version_wrote_is_said_to_be_unknown(tiny):
    values = tiny.to_dict()
    values["flow"]["n_wings"] = 2
    with pytest.raises(ValueError, match="fields of FlowConfig.*got n_wings.*update"):
        RunConfig.from_dict(values)


def test_what_an_older_version_did_not_know_has_its_default(tiny):
    values = tiny.to_dict()
    del values["stream"]["without"], values["centers"]
    assert RunConfig.from_dict(values) == tiny


@pytest.mark.parametrize(("options", "message"), [
    ({"force": 1}, "Unknown option of EWC 'force'; known: strength"),
])  # fmt: skip
def test_an_unknown_option_is_refused_before_anything_is_written(
    tiny, options, message
):
    with pytest.raises(TypeError, match=message):
        _ = tiny.replace(strategy="ewc", options=options).name
