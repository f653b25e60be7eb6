"""Checkpoint files of HGAD's continuation are read back to the same function.

Or refused in a sentence.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.runs.hgad import (
    CLAMP_RULES,
    checkpoint_paths,
    model_of,
    read_checkpoint,
)
from cl_flow.runs.hgad_settings import find_settings
from cl_flow.scoring.scores import score
from cl_flow.training.config import TrainConfig
from tests.checkpoints import contents

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
NAMES = ("mus", "mu_deltas", "phi_inters", "phi_intras")
CLAMP, N_BLOCKS, K = 1.9, 3, 5  # of the oracle
GRIDS = [(8, 8), (4, 4)]


@pytest.fixture(scope="module")
def oracle() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).resolve().parents[2] / "data" / "hgad.npz") as numbers:
        return {key: torch.as_tensor(numbers[key]) for key in numbers.files}


def stored(oracle: dict[str, torch.Tensor], rule: str) -> dict[str, Any]:
    """The oracle's weights as a file holds them, of either log-scale."""
    flows = []
    for i in range(len(GRIDS)):
        prefix = f"flow{i}/"
        state = {k.removeprefix(prefix): v for k, v in oracle.items() if prefix in k}
        if rule == "vendored":
            for b in range(N_BLOCKS):
                for name in ("weight", "bias"):
                    value = state[f"module_list.{b}.subnet.2.{name}"].clone()
                    value[: len(value) // 2] *= CLAMP
                    state[f"module_list.{b}.subnet.2.{name}"] = value
        flows.append(state)
    mixtures = {
        name: {str(i): oracle[f"{name}{i}"] for i in range(len(GRIDS))}
        for name in NAMES
    }
    return {"epoch": 9, "nfs": flows, **mixtures}


@pytest.fixture(params=CLAMP_RULES)
def read(request, oracle, tmp_path) -> FlowModel:
    """The oracle's model, through a file of each log-scale."""
    path = tmp_path / "HGAD_toy_task_0_img.pt"
    torch.save(stored(oracle, request.param), path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.flow == FlowConfig(
        n_blocks=N_BLOCKS, n_components=4, position_dim=16
    )
    assert (checkpoint.dims, checkpoint.n_classes, checkpoint.epoch) == ((24, 24), K, 9)
    tasks = [tuple(f"class {i}" for i in range(K))]
    return model_of(
        checkpoint, checkpoint.flow, GRIDS, tasks, seed=0, rule=request.param
    )


def test_scores_of_a_file_are_the_authors_own(oracle, read):
    levels = tuple(
        np.stack([oracle[f"score/x{i}_{n}"].numpy() for n in range(6)]) for i in (0, 1)
    )
    category = read.categories[int(oracle["score/class"])]
    samples = pd.DataFrame({"category": [category] * 6, "split": "test", "label": 0})
    features = Features(samples, levels, read.grids, np.arange(6))
    y = read.class_ids(samples["category"])
    for i, (level, x) in enumerate(zip(read.levels, features.read())):
        z, log_det = level(x.flatten(0, 1))
        logp = (level.mixture.log_prob(z, y) + log_det) / level.dim
        for name, ours in (("logp", logp), ("negentropy", level.mixture.negentropy(z))):
            theirs = torch.stack([oracle[f"score/{name}{i}_{n}"] for n in range(6)])
            torch.testing.assert_close(ours.view(theirs.shape), theirs, **CLOSE)
    scores = score(read, features, "set", size=(32, 32))
    torch.testing.assert_close(scores.product, oracle["score/map"], **CLOSE)
    torch.testing.assert_close(scores.image("product"), oracle["score/image"], **CLOSE)


def test_the_wrong_log_scale_is_another_function(oracle, tmp_path):
    path = tmp_path / "HGAD_toy_task_0_img.pt"
    torch.save(stored(oracle, "vendored"), path)
    one = read_checkpoint(path)
    models = [
        model_of(one, one.flow, GRIDS, [["a", "b", "c", "d", "e"]], seed=0, rule=rule)
        for rule in CLAMP_RULES
    ]
    x = oracle["score/x0_0"]
    z = [model.levels[0](x)[0] for model in models]
    assert not torch.allclose(*z, atol=1e-2)


def test_a_files_expansions_stay_apart(oracle, tmp_path):
    path = tmp_path / "HGAD_toy_task_1_img.pt"
    torch.save(stored(oracle, "published"), path)
    one = read_checkpoint(path)
    tasks = [("a", "b", "c"), ("d", "e")]
    model = model_of(one, one.flow, GRIDS, tasks, seed=0, rule="published")
    assert model.arrivals == tasks
    assert torch.equal(model.levels[1].mixture.mu, oracle["mus1"])


# ---- what is no such file


def lacking(*keys: Any) -> Callable[[dict], dict]:
    def take(values: dict) -> dict:
        holder: Any = values
        for key in keys[:-1]:
            holder = holder[key]
        del holder[keys[-1]]
        return values

    return take


def changed(value: Any, *keys: Any) -> Callable[[dict], dict]:
    def put(values: dict) -> dict:
        holder: Any = values
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        return values

    return put


@pytest.mark.parametrize(("spoil", "message"), [
    (lacking("epoch"), "a file without epoch"),
    (lacking("nfs"), "a file without nfs"),
    *((lacking(name), f"a file without {name}") for name in NAMES),
    *((lacking(name, "1"), f"{name} of 2 levels without 1") for name in NAMES),
    (lacking("nfs", 0, "module_list.0.subnet.0.weight"), "block 0 of level 0 without subnet.0.weight"),
    (lacking("nfs", 1, "module_list.2.w_perm_inv"), "block 2 of level 1 without w_perm_inv"),
    (changed([], "nfs"), "0 levels"),
    (changed("nine", "epoch"), "after pass 'nine'"),
    (changed(torch.zeros(4), "nfs", 0, "module_list.0.act_norm"), "unknown tensor act_norm in block 0"),
    (changed(torch.zeros(4), "nfs", 0, "mask"), "unknown tensor mask at level 0"),
    (changed(torch.zeros(5, 23), "mus", "1"), r"delta \(5, 3, 24\), not \(5, 3, 23\), in the mixture of level 1"),
    (changed(torch.zeros(4, 24), "mus", "0"), r"mu \(4, 24\), not \(5, 24\)"),
    (changed(torch.full((5, 24), float("nan")), "mus", "0"), "mu of the mixture of level 0 that are not finite"),
    (changed(2 * torch.eye(24), "nfs", 1, "module_list.1.w_perm_inv"), "w_perm times its inverse .* away from I in block 1"),
    (changed([1, 2], "mus"), "mus of 2 levels that is a list"),
    (changed("a", "mus", "0"), "mus of level 0 that is no tensor"),
])  # fmt: skip
def test_what_lacks_something_is_refused_in_a_sentence(
    oracle, tmp_path, spoil, message
):
    path = tmp_path / "HGAD_toy_task_0_img.pt"
    torch.save(spoil(stored(oracle, "published")), path)
    with pytest.raises(ValueError, match=f"whole checkpoint .*; got .*{message}"):
        read_checkpoint(path)


class Harm:
    """What a file that is not to be trusted would run when it is opened."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("spoil", [
    lambda content: content[: len(content) // 2],
    lambda content: content[:100],
    lambda content: b"",
    lambda content: b"no such thing",
])  # fmt: skip
def test_what_is_cut_short_is_refused_in_a_sentence(oracle, tmp_path, spoil):
    path = tmp_path / "HGAD_toy_task_0_img.pt"
    torch.save(stored(oracle, "published"), path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="got what cannot be read as tensors"):
        read_checkpoint(path)


def test_nothing_in_a_file_is_run(oracle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "HGAD_toy_task_0_img.pt"
    torch.save({**stored(oracle, "published"), "epoch": Harm()}, path)
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        read_checkpoint(path)
    assert not (tmp_path / "harmed").exists()


# ---- where files lie, and what they do not tell


def test_files_are_found_by_their_names(tmp_path):
    names = ["task_0/HGAD_my_set_task_0_img.pt", "task_1/HGAD_my_set_task_1_img.pt"]
    for name in (*names, "task_1/HGAD_my_set_task_1_pix.pt", "HGAD_notes_img.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert checkpoint_paths(tmp_path, "img") == [tmp_path / name for name in names]
    with pytest.raises(FileNotFoundError, match="t from 0 on; got tasks 1"):
        checkpoint_paths(tmp_path, "pix")
    with pytest.raises(FileNotFoundError, match="got tasks none"):
        checkpoint_paths(tmp_path / "nowhere", "img")
    (tmp_path / "HGAD_other_task_1_img.pt").touch()
    with pytest.raises(
        ValueError, match="one file of each task; got .*Name the folder"
    ):
        checkpoint_paths(tmp_path, "img")


TOLD = {
    "backbone_arch": "tf_efficientnet_b6",
    "feature_levels": 3,
    "clamp_alpha": 1.9,
    "img_size": 1024,
    "batch_size": 8,
    "lr": 0.0002,
    "lr_decay_rate": 0.1,
    "lr_warm": True,
    "lr_warm_epochs": 2,
    "lr_cosine": True,
    "meta_epochs": 5,
    "sub_epochs": 2,
    "lambda1": 1.0,
    "lambda2": 100.0,
    "label_smoothing": 0.02,
    "seed": 4,
}


@pytest.fixture
def told(tmp_path) -> Callable[..., Any]:
    def settings(**changes: Any):
        path = tmp_path / "logs" / "task_0" / "HGAD_mvtec_task_0_img.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {k: v for k, v in {**TOLD, **changes}.items() if v is not ...}
        (tmp_path / "config.json").write_text(json.dumps(values))
        return find_settings(path)

    return settings


def test_a_config_json_two_folders_up_tells_what_files_lack(told):
    settings = told()
    assert settings.features is not None
    assert settings.features.backbone == "tf_efficientnet_b6.aa_in1k"
    assert settings.features.scales == (1, 2, 4)
    assert (settings.alpha, settings.passes, settings.seed) == (1.9, 10, 4)
    assert settings.train == TrainConfig(
        epochs=10, staircase=5, warmup=0.4, inter_only=0.4, final_lr=0.1**3
    )


@pytest.mark.parametrize(("changes", "unknown"), [
    ({"backbone_arch": "resnet18"}, "features"),
    ({"clamp_alpha": ...}, "alpha"),
    ({"lr_cosine": False}, "train"),
    ({"lambda1": 2.0}, "train"),
    ({"lambda2": ...}, "train"),
    ({"sub_epochs": ...}, "passes"),
])  # fmt: skip
def test_what_it_does_not_tell_stays_open(told, changes, unknown):
    assert getattr(told(**changes), unknown) is None


def test_a_config_json_of_something_else_is_refused(told, tmp_path):
    told()
    (tmp_path / "config.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="settings of HGAD's continuation in .*config"):
        find_settings(tmp_path / "logs" / "task_0" / "HGAD_mvtec_task_0_img.pt")


def test_our_own_files_have_the_same_names_as_the_oracles(oracle):
    config = FlowConfig(n_blocks=N_BLOCKS, n_components=4, position_dim=16)
    model = FlowModel([24, 24], GRIDS, config).expand_(K)
    ours, theirs = contents(model, epoch=0), stored(oracle, "published")
    assert set(ours) == set(theirs)
    for i in range(len(GRIDS)):
        shapes = [
            {key: value.shape for key, value in flows["nfs"][i].items()}
            for flows in (ours, theirs)
        ]
        assert shapes[0] == shapes[1]
