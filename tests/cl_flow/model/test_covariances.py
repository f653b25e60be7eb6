"""Learned covariances: identity at first, Gaussians afterwards, and one density."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from cl_flow.model.covariances import COVARIANCES
from cl_flow.model.losses import hgad_losses
from cl_flow.model.mixture import Mixture

pytestmark = pytest.mark.usefixtures("float64")
DIM = 6
RANK = 2
each_kind = pytest.mark.parametrize("kind", COVARIANCES)


def plain(n_components: int = 4) -> Mixture:
    generator = torch.Generator().manual_seed(7)
    mixture = Mixture(DIM, n_components=n_components)
    return mixture.expand(2, generator=generator).expand(1, generator=generator)


def stirred(kind: str, n_components: int = 4) -> Mixture:
    mixture = plain(n_components).with_covariance(kind, rank=RANK)
    for parameter in mixture.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)
    return mixture


@each_kind
def test_it_starts_as_the_unit_covariance_to_the_bit(kind):
    unit = plain()
    mixture = unit.with_covariance(kind, rank=RANK)
    z = torch.randn(12, DIM)
    y = torch.tensor([2, 0, 1])
    assert torch.equal(mixture.frames.weight, torch.eye(DIM).expand(3, -1, -1))
    assert (mixture.frames.bias == 0).all()
    assert torch.equal(mixture.log_prob(z, y), unit.log_prob(z, y))
    torch.testing.assert_close(mixture.negentropy(z), unit.negentropy(z))


@each_kind
def test_its_volume_is_that_of_the_map_which_autograd_sees(kind):
    mixture = stirred(kind)
    y = torch.arange(3)
    z = torch.randn(3, 1, DIM)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: mixture.frames.of_images(z, y).sum((0, 1)), z
    )
    by_class = jacobian[:, :, 0].transpose(0, 1)
    sign, log_volume = torch.linalg.slogdet(by_class)
    torch.testing.assert_close(mixture._covariances.log_volume, log_volume)
    assert (sign > 0).all()


@each_kind
def test_a_class_of_one_component_is_a_gaussian_about_its_center(kind):
    mixture = stirred(kind, n_components=1)
    z = torch.randn(8, DIM)
    weight = mixture.frames.weight
    precision = weight.mT @ weight
    expected = MultivariateNormal(mixture.mu, precision_matrix=precision).log_prob(
        z[:, None]
    )
    torch.testing.assert_close(mixture.log_prob_each(z), expected)
    constant = 0.5 * DIM * math.log(2 * math.pi)
    torch.testing.assert_close(mixture.log_kernel(z) - constant, expected)


@each_kind
def test_a_density_of_several_components_integrates_to_one(kind):
    mixture = Mixture(2, n_components=3).expand(2).with_covariance(kind, rank=1)
    for parameter in mixture.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    side = torch.linspace(-15, 15, 601)
    step = side[1] - side[0]
    density = mixture.log_prob_each(torch.cartesian_prod(side, side)).exp()
    torch.testing.assert_close(
        density.sum(0) * step**2, torch.ones(2), atol=1e-6, rtol=0
    )


def test_a_low_rank_leaves_all_other_directions_as_they_are():
    weight = stirred("low_rank").frames.weight
    rank = torch.linalg.matrix_rank(weight - torch.eye(DIM))
    assert rank.tolist() == [RANK] * 3


@pytest.mark.parametrize("size", [-30.0, 30.0])
@each_kind
def test_no_value_of_the_parameters_is_singular(kind, size):
    mixture = stirred(kind)
    for covariance in mixture._covariances:
        covariance.log_scale.data.fill_(size)
    volume = mixture._covariances.log_volume
    assert volume.isfinite().all() and (volume.abs() >= 30 * RANK).all()
    assert mixture.log_kernel(torch.randn(5, DIM)).isfinite().all()


@each_kind
def test_every_parameter_learns_in_every_loss(kind):
    mixture = stirred(kind)
    z = torch.randn(12, DIM)
    terms = hgad_losses(
        mixture, z, torch.zeros(12), torch.tensor([0, 1, 2]), intra=True
    )
    for name, term in terms.items():
        own = list(mixture._covariances.parameters())
        for gradient in torch.autograd.grad(term, own, retain_graph=True):
            assert gradient.isfinite().all() and gradient.abs().sum() > 0, name


@each_kind
def test_losses_within_a_class_do_not_move_its_center(kind):
    mixture = stirred(kind)
    z = torch.randn(12, DIM)
    terms = hgad_losses(
        mixture, z, torch.zeros(12), torch.tensor([0, 1, 2]), intra=True
    )
    mu = list(mixture._mu)
    for name in ("intra", "z"):
        grads = torch.autograd.grad(
            terms[name], mu, retain_graph=True, materialize_grads=True
        )
        assert all((gradient == 0).all() for gradient in grads)


@each_kind
def test_gradient_finds_the_covariance_of_a_class(kind):
    """The likelihood of a Gaussian's draws is highest at their own covariance."""
    eye = torch.eye(DIM)
    turn = torch.linalg.qr(torch.randn(DIM, DIM)).Q
    basis = turn if kind != "diagonal" else eye
    variance = torch.tensor([4.0, 0.25, 1.0, 1.0, 1.0, 1.0])
    covariance = basis @ torch.diag(variance) @ basis.T
    mixture = Mixture(DIM, n_components=1).expand(1).with_covariance(kind, rank=RANK)
    mixture._mu.requires_grad_(False)
    # Latents whose second moment about the center is the covariance, exactly.
    root = torch.linalg.cholesky(covariance)
    z = mixture.mu + DIM**0.5 * torch.cat([root.T, -root.T])
    learning = [p for p in mixture._covariances.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.02)
    for _ in range(1500):
        optimizer.zero_grad()
        loss = -mixture.log_prob(z, torch.tensor([0])).mean()
        loss.backward()
        optimizer.step()
    weight = mixture.frames.weight[0]
    found = torch.linalg.inv(weight.T @ weight)
    torch.testing.assert_close(found, covariance, atol=0.02, rtol=0.02)


@each_kind
def test_it_survives_expansion_and_the_disk_form_to_the_bit(kind):
    before = stirred(kind)
    z = torch.randn(20, DIM)
    y = torch.tensor([0, 1, 2, 0])
    after = before.expand(2)
    assert torch.equal(after.log_prob(z, y), before.log_prob(z, y))
    assert torch.equal(after.frames.weight[3:], torch.eye(DIM).expand(2, -1, -1))
    old = torch.arange(3)
    assert torch.equal(
        after.negentropy(z, classes=old), before.negentropy(z, classes=old)
    )
    sizes = [len(block["mu"]) for block in after.blocks()]
    again = Mixture(DIM, n_components=4).allocate_(sizes, covariance=after.covariance)
    again.load_state_dict(after.state_dict())
    assert torch.equal(again.log_prob_each(z), after.log_prob_each(z))
    assert again.covariance == after.covariance == (kind, RANK)


@each_kind
def test_old_ones_can_be_frozen(kind):
    mixture = stirred(kind).freeze_old_()
    old, new = mixture._covariances
    assert not any(parameter.requires_grad for parameter in old.parameters())
    assert all(parameter.requires_grad for parameter in new.parameters())
    grown = mixture.expand(1)._covariances
    assert [c.log_scale.requires_grad for c in grown] == [False, True, True]


@each_kind
def test_a_subset_and_given_frames_stop_learning_and_score_the_same(kind):
    mixture = stirred(kind)
    z = torch.randn(9, DIM)
    part = mixture.subset(torch.tensor([2, 0]))
    fixed = mixture.framed(*mixture.frames)
    assert part.covariance is fixed.covariance is None
    torch.testing.assert_close(
        part.log_prob_each(z), mixture.log_prob_each(z)[:, [2, 0]]
    )
    torch.testing.assert_close(fixed.log_prob_each(z), mixture.log_prob_each(z))


@each_kind
def test_taking_brings_the_covariances_too(kind):
    here, there = stirred(kind), stirred(kind)
    z = torch.randn(9, DIM)
    known = list(here.parameters())
    here.take_(there)
    assert all(a is b for a, b in zip(here.parameters(), known))
    assert torch.equal(here.log_prob_each(z), there.log_prob_each(z))
    unit = plain().take_(there)
    torch.testing.assert_close(unit.log_prob_each(z), there.log_prob_each(z))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plain().with_covariance("round"), "Unknown covariance 'round'; known"),
        (
            lambda: plain().with_covariance("low_rank", rank=7),
            "a rank from 1 to D = 6; got 7",
        ),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((ValueError, KeyError), match=message):
        call()
