"""Neighbours among components: bounds, and where the annealing ends."""

import math

import pytest
import torch

from cl_flow.model.annealing import (
    SHARP,
    annealed_width,
    best_neighbourhood,
    neighbours_on_grid,
)
from cl_flow.model.losses import hgad_losses
from cl_flow.model.mixture import Mixture

pytestmark = pytest.mark.usefixtures("float64")
each_m = pytest.mark.parametrize("m", [1, 3, 9, 10])


@each_m
@pytest.mark.parametrize("width", [0.75, 0.1, SHARP])
def test_neighbours_share_a_whole_and_count_most_for_themselves(m, width):
    g = neighbours_on_grid(m, width)
    torch.testing.assert_close(g.sum(1), torch.ones(m))
    assert (g.argmax(1) == torch.arange(m)).all() and (g >= 0).all()


def test_components_lie_on_a_grid_row_by_row():
    g = neighbours_on_grid(10, 1.0)
    # 0 1 2 3 / 4 5 6 7 / 8 9
    torch.testing.assert_close(g[0, 1], g[0, 4])
    torch.testing.assert_close(g[5, 0], g[5, 2])
    assert g[0, 3] < g[0, 5] < g[0, 4]


@each_m
def test_annealing_begins_wide_falls_and_ends_at_the_maximum(m):
    progress = torch.linspace(0, 1, 11).tolist()
    widths = [annealed_width(m, share) for share in progress]
    assert widths[0] == math.sqrt(m) / 4
    assert all(a > b for a, b in zip(widths, widths[1:]))
    assert annealed_width(m, 7.0) == pytest.approx(SHARP)
    log_kernel = torch.randn(20, m)
    best = best_neighbourhood(log_kernel, neighbours_on_grid(m, widths[-1]))
    assert torch.equal(best, log_kernel.amax(-1))


@each_m
def test_the_annealed_maximum_lies_below_the_maximum_and_that_near_the_logsumexp(m):
    log_kernel = 3 * torch.randn(200, m)
    top = log_kernel.amax(-1)
    evidence = log_kernel.logsumexp(-1)
    for progress in (0.0, 0.3, 0.6, 1.0):
        g = neighbours_on_grid(m, annealed_width(m, progress))
        best = best_neighbourhood(log_kernel, g)
        assert (log_kernel.amin(-1) <= best + 1e-9).all()
        assert (best <= top + 1e-9).all()
    assert (top <= evidence).all() and (evidence <= top + math.log(m) + 1e-12).all()


@pytest.mark.parametrize("kind", [None, "full"])
def test_neighbours_change_the_loss_within_a_class_alone(kind):
    mixture = Mixture(7, n_components=4).expand(3)
    if kind is not None:
        mixture = mixture.with_covariance(kind)
    z = torch.randn(12, 7)
    log_det = torch.randn(12)
    y = torch.tensor([0, 1, 2])
    before = hgad_losses(mixture, z, log_det, y, intra=True)
    log_kernel = mixture.log_kernel_within(z, y).flatten(0, 1)
    for width in (0.5, SHARP):
        g = neighbours_on_grid(4, width)
        mixture.neighbours = g
        after = hgad_losses(mixture, z, log_det, y, intra=True)
        for name in ("g", "mi", "entropy", "z"):
            torch.testing.assert_close(after[name], before[name])
        best = (log_kernel[:, None] * g).sum(-1).amax(-1)
        torch.testing.assert_close(after["intra"], -(best + log_det).mean() / 7)
        assert after["intra"] > before["intra"]
        assert list(after) == list(before)


def test_wide_neighbourhoods_leave_no_component_without_a_gradient():
    """A component far from all latents learns nothing of the maximum alone."""
    mixture = Mixture(5, n_components=4).expand(1)
    mixture._delta[0].data[0, 2] = 50.0
    z = mixture.mu.detach() + torch.randn(30, 5)
    learned = []
    for width in (0.5, SHARP):
        mixture.neighbours = neighbours_on_grid(4, width)
        terms = hgad_losses(mixture, z, torch.zeros(30), torch.tensor([0]), intra=True)
        (gradient,) = torch.autograd.grad(terms["intra"], [mixture._delta[0]])
        learned.append(gradient[0, 2].abs().sum() > 0)
    assert learned == [True, False]


def test_neighbours_are_no_part_of_the_model():
    mixture = Mixture(5, n_components=4).expand(1)
    names = set(mixture.state_dict())
    z = torch.randn(6, 5)
    before = mixture.log_prob_each(z)
    mixture.neighbours = neighbours_on_grid(4, 0.5)
    assert set(mixture.state_dict()) == names
    assert torch.equal(mixture.log_prob_each(z), before)
    assert mixture.expand(1).neighbours is None
