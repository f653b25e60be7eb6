"""Our model against numbers from the HGAD authors' own code (tests/data/hgad.npz)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.model.losses import hgad_losses, hgad_total
from cl_flow.scoring.scores import score

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
OURS = {"L_g": "g", "L_mi": "mi", "L_e": "entropy", "L_g_intra": "intra", "L_z": "z"}


@pytest.fixture(scope="module")
def oracle() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).resolve().parents[2] / "data" / "hgad.npz") as numbers:
        return {key: torch.as_tensor(numbers[key]) for key in numbers.files}


@pytest.fixture
def model(oracle: dict[str, torch.Tensor]) -> FlowModel:
    config = FlowConfig(n_blocks=3, n_components=4, position_dim=16)
    model = FlowModel([24, 24], [(4, 4), (2, 2)], config).expand_(5)
    for i, level in enumerate(model.levels):
        for b, block in enumerate(level.flow):
            prefix = f"flow{i}/module_list.{b}."
            block.load_all_in_one_(
                {
                    k.removeprefix(prefix): v
                    for k, v in oracle.items()
                    if k.startswith(prefix)
                }
            )
        names = {
            "mu": "mus",
            "delta": "mu_deltas",
            "phi": "phi_inters",
            "psi": "phi_intras",
        }
        for ours, theirs in names.items():
            level.mixture.blocks()[0][ours].data.copy_(oracle[f"{theirs}{i}"])
    return model


@pytest.mark.parametrize("i", [0, 1])
def test_position_codes(oracle, model, i):
    torch.testing.assert_close(
        model.levels[i].codes, oracle[f"pos{i}"].flatten(1).T, **CLOSE
    )


@pytest.mark.parametrize("i", [0, 1])
def test_flow_outputs(oracle, model, i):
    z, log_det = model.levels[i](oracle[f"x{i}"])
    torch.testing.assert_close(z, oracle[f"z{i}"], **CLOSE)
    torch.testing.assert_close(log_det, oracle[f"logdet{i}"], **CLOSE)


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("i", [0, 1])
def test_losses_and_gradients(oracle, model, i, epoch):
    level = model.levels[i]
    z, log_det = level(oracle[f"x{i}"])
    terms = hgad_losses(level.mixture, z, log_det, oracle["label"], intra=epoch == 2)
    total = hgad_total(terms)
    for theirs, ours in OURS.items():
        if (key := f"loss{i}_epoch{epoch}/{theirs}") in oracle:
            torch.testing.assert_close(terms.pop(ours), oracle[key], **CLOSE)
    assert not terms, "every term has its number in the oracle"
    torch.testing.assert_close(total, oracle[f"loss{i}_epoch{epoch}/total"], **CLOSE)

    total.backward()
    block = level.mixture.blocks()[0]
    grad = f"grad{i}_epoch{epoch}/"
    torch.testing.assert_close(block["mu"].grad, oracle[grad + "mus"], **CLOSE)
    torch.testing.assert_close(block["phi"].grad, oracle[grad + "phi_inters"], **CLOSE)
    if epoch == 2:
        torch.testing.assert_close(
            block["delta"].grad, oracle[grad + "mu_deltas"], **CLOSE
        )
        torch.testing.assert_close(
            block["psi"].grad, oracle[grad + "phi_intras"], **CLOSE
        )
    norm = torch.stack([p.grad.norm() for p in level.flow.parameters()]).norm()
    torch.testing.assert_close(norm, oracle[grad + "flow_norm"], **CLOSE)


@pytest.fixture
def tested(oracle, model) -> tuple[FlowModel, Features]:
    """The same weights on the score grids (8×8, 4×4), and the oracle's six test images."""
    larger = FlowModel([24, 24], [(8, 8), (4, 4)], model.config).expand_(5)
    larger.load_state_dict(model.state_dict())
    levels = tuple(
        np.stack([oracle[f"score/x{i}_{n}"].numpy() for n in range(6)]) for i in (0, 1)
    )
    category = larger.categories[int(oracle["score/class"])]
    samples = pd.DataFrame({"category": [category] * 6, "split": "test", "label": 0})
    return larger, Features(samples, levels, larger.grids, np.arange(6))


def test_patch_factors(oracle, tested):
    model, features = tested
    y = model.class_ids(features.samples["category"])
    for i, (level, x) in enumerate(zip(model.levels, features.read())):
        z, log_det = level(x.flatten(0, 1))
        logp = (level.mixture.log_prob(z, y) + log_det) / level.dim
        for name, ours in (("logp", logp), ("negentropy", level.mixture.negentropy(z))):
            theirs = torch.stack([oracle[f"score/{name}{i}_{n}"] for n in range(6)])
            torch.testing.assert_close(ours.view(theirs.shape), theirs, **CLOSE)


def test_anomaly_maps_of_the_published_protocol(oracle, tested):
    model, features = tested
    scores = score(model, features, "set", size=(32, 32))
    torch.testing.assert_close(scores.logp, oracle["score/map_logp"], **CLOSE)
    torch.testing.assert_close(scores.entropy, oracle["score/map_entropy"], **CLOSE)
    torch.testing.assert_close(scores.product, oracle["score/map"], **CLOSE)
    torch.testing.assert_close(scores.image("product"), oracle["score/image"], **CLOSE)
