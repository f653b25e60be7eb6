"""A swapped model is the recipient but for the part, and the donor in the part."""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.ledger.swaps import SWAPS, swap
from cl_flow.data.features import Features
from cl_flow.model.flow import FlowConfig, FlowModel
from cl_flow.scoring.scores import calibrate, score

GRIDS = ((4, 4), (2, 2))
NAMES = {
    "centers": {"mu"},
    "offsets": {"delta"},
    "weights": {"phi", "psi"},
    "mixture": {"mu", "delta", "phi", "psi"},
}


def model(seed: int, *, categories: str = "abc", n_blocks: int = 3) -> FlowModel:
    config = FlowConfig(n_blocks=n_blocks, n_components=3, position_dim=8, hidden=16)
    out = FlowModel((8, 8), GRIDS, config, seed=seed).expand_(categories)
    for level in out.levels:
        for parameter in level.mixture.parameters():
            parameter.data += torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(seed)
            )
    return out.eval()


@pytest.fixture
def features() -> Features:
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(
        {
            "category": ["a", "b"] * 10,
            "split": ["train"] * 12 + ["test"] * 8,
            "label": 0,
        }
    )
    levels = tuple(
        rng.normal(size=(20, cells, 8)).astype(np.float16) for cells in (16, 4)
    )
    return Features(samples, levels, GRIDS, np.arange(20))


def differing(a: FlowModel, b: FlowModel) -> set[str]:
    """What of two models differs: names of mixture values, and indices of blocks."""
    names = {n for level, other in zip(a.levels, b.levels) for n in ("mu", "delta", "phi", "psi")
             if not torch.equal(getattr(level.mixture, n), getattr(other.mixture, n))}  # fmt: skip
    for level, other in zip(a.levels, b.levels):
        for i, (block, theirs) in enumerate(zip(level.flow, other.flow)):
            same = all(
                torch.equal(block.state_dict()[key], value)
                for key, value in theirs.state_dict().items()
            )
            names |= set() if same else {str(i)}
    return names


@pytest.mark.parametrize(("part", "blocks", "changed"), [
    *((part, None, names) for part, names in NAMES.items()),
    ("first", 2, {"0", "1"}), ("last", 1, {"2"}), ("first", 0, set()), ("flow", None, {"0", "1", "2"}),
])  # fmt: skip
def test_the_part_is_the_donors_and_the_rest_the_recipients(part, blocks, changed):
    recipient, donor = model(0), model(1)
    both = swap(recipient, donor, part, blocks=blocks)
    assert differing(both, recipient) == changed
    assert differing(both, donor) == differing(recipient, donor) - changed
    assert differing(recipient, model(0)) == differing(donor, model(1)) == set(), (
        "neither was touched"
    )


@pytest.mark.parametrize("part", SWAPS)
def test_swapping_with_itself_changes_nothing(part):
    assert not differing(swap(model(0), model(0), part, blocks=1), model(0))


def test_classes_that_the_donor_does_not_know_stay():
    recipient, donor = model(0), model(1, categories="ca")
    mu = swap(recipient, donor, "centers").levels[0].mixture.mu
    assert torch.equal(mu[[2, 0]], donor.levels[0].mixture.mu) and torch.equal(
        mu[1], recipient.levels[0].mixture.mu[1]
    )


def test_the_mask_drops_what_the_donor_does_not_know(features):
    recipient, donor = model(0), model(1, categories="ab")
    masked = swap(recipient, donor, "mask")
    assert masked.categories == ("a", "b") and masked.n_classes == 2
    training, test = features.where(split="train"), features.where(split="test")
    known = {"known": ["a", "b"]}
    expected = score(recipient, test, calibrate(recipient, training, **known), **known)
    found = score(masked, test, calibrate(masked, training))
    assert torch.equal(found.logp, expected.logp) and torch.equal(
        found.entropy, expected.entropy
    )


def test_frames_go_with_the_mixture_alone():
    recipient, donor = model(0), model(1, categories="ab")
    level = donor.levels[0]
    level.mixture = level.mixture.framed(
        2 * torch.eye(8).expand(2, -1, -1), torch.ones(2, 8)
    )
    assert swap(recipient, donor, "centers").levels[0].mixture.frames is None
    weight, bias = swap(recipient, donor, "mixture").levels[0].mixture.frames
    assert weight[:, 0, 0].tolist() == [2, 2, 1] and bias[:, 0].tolist() == [1, 1, 0]
    back = (
        swap(swap(recipient, donor, "mixture"), recipient, "mixture")
        .levels[0]
        .mixture.frames
    )
    assert torch.equal(back[0], torch.eye(8).expand(3, -1, -1))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: swap(model(0), model(1), "head"), "Unknown part to swap 'head'; known: centers, offsets"),
    (lambda: swap(model(0), model(1), "first"), "0 to 3 blocks to swap; got None"),
    (lambda: swap(model(0), model(1), "last", blocks=4), "0 to 3 blocks to swap; got 4"),
    (lambda: swap(model(0), model(1, n_blocks=2), "flow"), "models of one shape; got 3 blocks.*and 2 blocks"),
    (lambda: swap(model(0, categories="ab"), model(1), "centers"), "No center for c; known: a, b"),
])  # fmt: skip
def test_wrong_input_is_named(call, message):
    with pytest.raises((KeyError, ValueError), match=message):
        call()
