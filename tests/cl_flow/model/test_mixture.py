"""The mixture against torch.distributions, and what must hold when it grows."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from cl_flow.model.mixture import Mixture
from cl_flow.model.placement import PLACEMENTS, SPACING, smallest_distance

pytestmark = pytest.mark.usefixtures("float64")
DIM = 30
M = 4


def grown(*sizes: int, init: str = "tile") -> Mixture:
    mixture = Mixture(DIM, n_components=M)
    generator = torch.Generator().manual_seed(7)
    for n in sizes:
        data = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
        mixture = mixture.expand(n, init=init, data=data, generator=generator)
    return mixture


def learnt(*sizes: int) -> Mixture:
    mixture = grown(*sizes)
    generator = torch.Generator().manual_seed(8)
    for parameter in mixture.parameters():
        parameter.data += torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
    return mixture


def density(mixture: Mixture, k: int) -> MixtureSameFamily:
    components = Independent(Normal(mixture.components()[k], 1.0), 1)
    return MixtureSameFamily(Categorical(logits=mixture.psi[k]), components)


def test_log_prob_is_that_of_the_mixture():
    mixture = learnt(3, 2)
    z = torch.randn(8, DIM)
    y = torch.tensor([0, 4, 2, 2])
    expected = torch.stack(
        [density(mixture, k).log_prob(z[2 * i : 2 * i + 2]) for i, k in enumerate(y)]
    ).flatten()
    torch.testing.assert_close(mixture.log_prob(z, y), expected)
    each = torch.stack([density(mixture, k).log_prob(z) for k in range(5)], dim=1)
    torch.testing.assert_close(mixture.log_prob_each(z), each)


def test_a_class_per_latent_and_a_class_per_image_agree():
    mixture = learnt(3)
    z = torch.randn(12, DIM)
    y = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        mixture.log_prob(z, y), mixture.log_prob(z, y.repeat_interleave(4))
    )


def frames(k: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    weight = torch.eye(DIM) + 0.1 * torch.randn(k, DIM, DIM, generator=generator)
    return weight, torch.randn(k, DIM, generator=generator)


def test_a_frame_changes_variables():
    plain = learnt(3, 2)
    weight, bias = frames(5)
    z = torch.randn(8, DIM)
    mixture = plain.framed(weight, bias)
    y = torch.tensor([0, 4, 2, 2])
    each = [
        plain.log_prob_each(z @ weight[k].T + bias[k])[:, k]
        + weight[k].slogdet().logabsdet
        for k in range(5)
    ]
    torch.testing.assert_close(mixture.log_prob_each(z), torch.stack(each, dim=1))
    given = torch.stack([each[k][2 * i : 2 * i + 2] for i, k in enumerate(y)]).flatten()
    torch.testing.assert_close(mixture.log_prob(z, y), given)


def test_a_frame_makes_a_gaussian_of_any_shape():
    weight, bias = frames(2)
    mixture = Mixture(DIM, n_components=1).expand(2).framed(weight, bias)
    z = torch.randn(8, DIM)
    mean = torch.linalg.solve(weight, mixture.mu - bias)
    covariance = torch.linalg.inv(weight.mT @ weight)
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(
        z[:, None]
    )
    torch.testing.assert_close(mixture.log_prob_each(z), expected)
    torch.testing.assert_close(
        mixture.log_kernel(z) - 0.5 * DIM * math.log(2 * math.pi), expected
    )


def test_identity_frames_change_no_number():
    mixture = learnt(4)
    z = torch.randn(6, DIM)
    y = torch.tensor([1, 3, 0])
    framed = mixture.framed(torch.eye(DIM).repeat(4, 1, 1), torch.zeros(4, DIM))
    torch.testing.assert_close(framed.log_prob(z, y), mixture.log_prob(z, y))
    torch.testing.assert_close(framed.log_kernel(z), mixture.log_kernel(z))
    torch.testing.assert_close(framed.negentropy(z), mixture.negentropy(z))


def test_scores_do_not_notice_an_affine_map_of_the_latents_that_the_frames_undo():
    mixture = learnt(4).framed(*frames(4))
    z = torch.randn(6, DIM)
    change = torch.linalg.qr(torch.randn(DIM, DIM)).Q * 1.7
    shift = torch.randn(DIM)
    weight = mixture.frames[0] @ torch.linalg.inv(change)
    moved = mixture.framed(weight, mixture.frames[1] - weight @ shift)
    there = z @ change.T + shift
    volume = change.slogdet().logabsdet
    tight = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(
        moved.log_prob_each(there) + volume, mixture.log_prob_each(z), **tight
    )
    torch.testing.assert_close(moved.negentropy(there), mixture.negentropy(z), **tight)


def test_frames_survive_expansion_and_the_disk_form_to_the_bit():
    before = learnt(3).framed(*frames(3))
    z = torch.randn(50, DIM)
    y = torch.tensor([0, 1, 2, 1, 0])
    after = before.expand(6)
    assert torch.equal(after.log_prob(z, y), before.log_prob(z, y))
    old = torch.arange(3)
    assert torch.equal(
        after.negentropy(z, classes=old), before.negentropy(z, classes=old)
    )
    again = Mixture(DIM, n_components=M).allocate_([3, 6], frames=True)
    again.load_state_dict(after.state_dict())
    assert torch.equal(again.log_prob_each(z), after.log_prob_each(z))


def test_negentropy_lies_between_ignorance_and_certainty():
    mixture = grown(5)
    z = torch.zeros(1, DIM)
    torch.testing.assert_close(mixture.negentropy(z).item(), -math.log(5))
    assert mixture.negentropy(100 * mixture.mu[:1]).item() == pytest.approx(
        0, abs=1e-12
    )
    torch.testing.assert_close(
        mixture.negentropy(z, classes=torch.tensor([0, 3])).item(), -math.log(2)
    )


@pytest.mark.parametrize("init", PLACEMENTS)
def test_expanding_keeps_the_old_rows_to_the_bit(init):
    before = learnt(3)
    after = before.expand(2, init=init, data=torch.randn(2, DIM))
    kept = (
        ("delta", "phi", "psi") if init == "retile" else ("mu", "delta", "phi", "psi")
    )
    for name in kept:
        assert torch.equal(getattr(after, name)[:3], getattr(before, name)), name
    assert torch.equal(after.mu[:3], before.mu) == (init != "retile")
    assert (after.n_classes, before.n_classes) == (5, 3)


@pytest.mark.parametrize("init", [name for name in PLACEMENTS if name != "retile"])
def test_likelihoods_and_masked_entropies_of_old_classes_survive_expansion_to_the_bit(
    init,
):
    before = learnt(3)
    z = torch.randn(50, DIM)
    y = torch.tensor([0, 1, 2, 1, 0])
    after = before.expand(6, init=init, data=torch.randn(6, DIM))
    assert torch.equal(after.log_prob(z, y), before.log_prob(z, y))
    old = torch.arange(3)
    assert torch.equal(
        after.negentropy(z, classes=old), before.negentropy(z, classes=old)
    )
    assert (after.negentropy(z) < before.negentropy(z)).any()


@pytest.mark.parametrize("sizes", [(3,), (5,), (15,)])
def test_tiled_centers_are_five_apart(sizes):
    distances = torch.nn.functional.pdist(grown(*sizes).mu.detach())
    torch.testing.assert_close(distances, torch.full_like(distances, SPACING))


def test_tiling_for_more_classes_lands_close_to_an_old_one():
    mixture = Mixture(200).expand(3).expand(3)
    assert smallest_distance(mixture.mu) == pytest.approx(2.7, abs=0.05)
    assert smallest_distance(
        Mixture(200).expand(3).expand(3, init="retile").mu
    ) == pytest.approx(SPACING)


def test_orthogonal_centers_keep_their_distance_whatever_was_learnt():
    before = learnt(3)
    after = before.expand(
        4, init="orthogonal", generator=torch.Generator().manual_seed(0)
    )
    new = after.mu[3:].detach()
    torch.testing.assert_close(new @ before.mu.T, torch.zeros(4, 3), atol=1e-12, rtol=0)
    assert (
        torch.cdist(new, after.mu.detach()).add(10 * torch.eye(7)[3:]).min()
        >= SPACING - 1e-12
    )


def test_every_expansion_is_a_block_and_old_ones_can_be_frozen():
    mixture = grown(2, 3).freeze_old_()
    old, new = mixture.blocks()
    assert {name: len(values) for name, values in new.items()} == dict.fromkeys(
        ("mu", "delta", "phi", "psi"), 3
    )
    assert not any(parameter.requires_grad for parameter in old.values())
    assert all(parameter.requires_grad for parameter in new.values())
    frozen = mixture.expand(1).blocks()
    assert [block["mu"].requires_grad for block in frozen] == [False, True, True]


def test_replacing_values_keeps_the_rest_and_the_original():
    before = learnt(3, 2)
    mu = before.mu.detach() + 1
    after = before.replace(mu=mu)
    assert (
        torch.equal(after.mu, mu)
        and torch.equal(after.delta, before.delta)
        and not torch.equal(before.mu, mu)
    )
    assert [len(block["mu"]) for block in after.blocks()] == [3, 2]
    with pytest.raises(ValueError, match=r"mu of shape \(5, 30\); got \(4, 30\)"):
        before.replace(mu=mu[1:])


@pytest.mark.parametrize("framed", [False, True])
def test_a_subset_scores_as_the_whole_masked_to_it(framed):
    whole = learnt(3, 2)
    z = torch.randn(20, DIM)
    classes = torch.tensor([4, 1])
    if framed:
        whole = whole.framed(
            torch.eye(DIM) + 0.01 * torch.randn(5, DIM, DIM), torch.randn(5, DIM)
        )
    part = whole.subset(classes)
    assert (
        torch.equal(part.negentropy(z), whole.negentropy(z, classes=classes))
        and part.n_classes == 2
    )
    torch.testing.assert_close(
        part.log_prob_each(z), whole.log_prob_each(z)[:, classes]
    )


def test_state_survives_the_disk_form():
    mixture = learnt(3, 2)
    again = Mixture(DIM, n_components=M).allocate_([3, 2])
    again.load_state_dict(mixture.state_dict())
    assert torch.equal(again.components(), mixture.components()) and torch.equal(
        again.phi, mixture.phi
    )


def test_the_names_on_disk_stay():
    mixture = learnt(3, 2)
    framed = mixture.framed(*frames(5))
    names = {"_mu.0", "_mu.1", "_delta.0", "_delta.1"}
    names |= {"_phi.0", "_phi.1", "_psi.0", "_psi.1"}
    assert set(mixture.state_dict()) == names
    assert set(framed.state_dict()) == names | {"_frame_weight", "_frame_bias"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Mixture(0), "Expected dim ≥ 1"),
        (lambda: grown(3).expand(0), "at least one class"),
        (
            lambda: grown(3).expand(2, init="corner"),
            "Unknown placement of new centers 'corner'; known: .*orthogonal",
        ),
        (
            lambda: grown(3).expand(40),
            "at most as many classes as dimensions.*43 classes in 30",
        ),
        (lambda: grown(3).expand(40, init="orthogonal"), r"K \+ n ≤ D.*3 \+ 40 in 30"),
        (
            lambda: grown(3).framed(torch.eye(DIM)[None], torch.zeros(1, DIM)),
            r"shapes \(3, 30, 30\).*got \(1, 30",
        ),
        (
            lambda: grown(1).framed(torch.zeros(1, DIM, DIM), torch.zeros(1, DIM)),
            r"non-zero volume.*classes \[0\]",
        ),
        (lambda: grown(3).expand(2, init="data"), r"shape \(2, 30\).*got None"),
        (
            lambda: grown(3).expand(2, init="data", data=torch.zeros(3, DIM)),
            r"shape \(2, 30\).*got \(3, 30\)",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((ValueError, KeyError), match=message):
        call()
