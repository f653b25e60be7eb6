"""Laws of every aligner, and planted drifts that each of them must undo."""

import math

import pytest
import torch

from cl_flow.align import ALIGNERS, HEADS, Evidence, GaussianStats, PatchLaw
from cl_flow.align.affine import centers, moved
from cl_flow.align.heads import headed
from cl_flow.align.stand_ins import pushed, transported
from cl_flow.model.mixture import Mixture

pytestmark = pytest.mark.usefixtures("float64")
DIM = 6
K = 5
OLD = (0, 1, 2)
DRIFT = ("mean_shift", "procrustes", "sdc", "ldc")
DRAWN = ("transport", "pushforward")
STREAMED = ("igmm", "igmn", "figmn", "online_em", "merge")

each_aligner = pytest.mark.parametrize("name", ALIGNERS)
each_head = pytest.mark.parametrize("head", HEADS)


def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(0)
    out = Mixture(DIM, n_components=4).expand(K, init="orthogonal", generator=generator)
    return out.replace(delta=0.3 * out.delta)


def latents(
    of: Mixture, *, n: int = 800, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws of every class of a mixture without frames, and class ids."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(K).repeat_interleave(n)
    which = torch.randint(of.n_components, (len(y),), generator=generator)
    return of.components().detach()[y, which] + torch.randn(
        len(y), DIM, generator=generator
    ), y


def affine_map(seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(DIM) + 0.3 * torch.randn(
        DIM, DIM, generator=generator
    ), 3 * torch.randn(DIM, generator=generator)


def rotation() -> torch.Tensor:
    return torch.linalg.qr(
        torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(3))
    ).Q


def gaussian_law(x: torch.Tensor, n_cells: int = 1) -> PatchLaw:
    return PatchLaw.of_gaussian(GaussianStats.of(x), n_cells)


def evidence(weight: torch.Tensor, bias: torch.Tensor) -> Evidence:
    """All there can be of a flow whose output has moved by z′ = Az + b.

    Its patches are the latents as they were.
    """
    z, y = latents(mixture())
    new = y >= len(OLD)
    law = {k: gaussian_law(z[y == k]) for k in OLD}

    def go(x: torch.Tensor, cells: torch.Tensor | None = None) -> torch.Tensor:
        return x @ weight.T + bias

    return Evidence(
        classes=OLD,
        drift=(z[new], go(z[new])),
        features=law,
        latents=law,
        images=(go(z[~new]), y[~new]),
        flow=go,
        inverse=lambda z, cells: z,
        n_draws=800,
    )


NOTHING = (torch.eye(DIM, dtype=torch.float64), torch.zeros(DIM, dtype=torch.float64))


# ---- laws


@each_head
@each_aligner
def test_it_leaves_its_input_and_all_other_classes_alone(name, head):
    before = mixture()
    given = evidence(*affine_map())
    state = {key: values.clone() for key, values in before.state_dict().items()}
    after = ALIGNERS[name](before, given, head=head)
    assert all(
        torch.equal(before.state_dict()[key], values) for key, values in state.items()
    )
    z, _ = latents(before, n=20)
    torch.testing.assert_close(
        after.log_prob_each(z)[:, 3:],
        before.log_prob_each(z)[:, 3:],
        rtol=0,
        atol=1e-12,
    )
    assert after.n_classes == K and [len(b["mu"]) for b in after.blocks()] == [
        len(b["mu"]) for b in before.blocks()
    ]


@each_head
@pytest.mark.parametrize("name", [name for name in ALIGNERS if name != "refit"])
def test_it_answers_the_same_twice(name, head):
    a, b = (
        ALIGNERS[name](mixture(), evidence(*affine_map()), head=head) for _ in range(2)
    )
    z, _ = latents(mixture(), n=20)
    assert torch.equal(a.log_prob_each(z), b.log_prob_each(z))


@each_head
@pytest.mark.parametrize("name", DRIFT)
def test_where_nothing_drifts_nothing_moves(name, head):
    before = mixture()
    z, y = latents(mixture(), n=50)
    after = ALIGNERS[name](before, evidence(*NOTHING), head=head)
    torch.testing.assert_close(
        after.log_prob(z, y), before.log_prob(z, y), rtol=1e-9, atol=1e-9
    )


@each_head
@pytest.mark.parametrize("name", [name for name in ALIGNERS if name != "identity"])
def test_all_but_identity_undo_a_translation(name, head):
    shift = torch.linspace(-4, 4, DIM)
    before = mixture()
    after = ALIGNERS[name](before, evidence(NOTHING[0], shift), head=head)
    means = latents(before)[0].view(K, -1, DIM).mean(1)[:3] + shift
    expected = before.mu[:3] + shift if name in DRIFT else means
    torch.testing.assert_close(centers(after)[:3], expected.detach(), atol=0.35, rtol=0)
    z, y = latents(before, n=300, seed=5)
    z = z[y < 3]
    y = y[y < 3]
    lost = before.log_prob(z, y).mean() - after.log_prob(z + shift, y).mean()
    assert lost < 0.2


@each_aligner
def test_an_unknown_head_and_missing_evidence_are_named(name):
    if name == "identity":
        assert ALIGNERS[name](mixture(), Evidence(OLD)).frames is None
        return
    with pytest.raises(ValueError, match="Expected evidence with .*; got none of"):
        ALIGNERS[name](mixture(), Evidence(OLD))
    with pytest.raises(KeyError, match="Unknown (head|family) 'round'; known: means"):
        ALIGNERS[name](mixture(), evidence(*NOTHING), head="round")


# ---- the gauge


@pytest.mark.parametrize("framed", [False, True])
def test_scores_survive_an_affine_map_of_the_latents_with_the_mixture_moved_along(
    framed,
):
    before = mixture()
    weight, bias = affine_map()
    if framed:
        before = before.framed(
            torch.eye(DIM) + 0.1 * torch.randn(K, DIM, DIM), torch.randn(K, DIM)
        )
    after = moved(before, tuple(range(K)), weight.repeat(K, 1, 1), bias.repeat(K, 1))
    z, y = latents(mixture(), n=50)
    log_det = torch.linalg.slogdet(weight).logabsdet
    there = z @ weight.T + bias
    torch.testing.assert_close(
        after.log_prob(there, y) + log_det,
        before.log_prob(z, y),
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(
        after.negentropy(there), before.negentropy(z), rtol=1e-10, atol=1e-10
    )


def test_with_means_only_the_center_goes_where_the_map_takes_it():
    weight, bias = affine_map()
    for before in (
        mixture(),
        mixture().framed(torch.eye(DIM).repeat(K, 1, 1) * 2, torch.ones(K, DIM)),
    ):
        after = moved(
            before, OLD, weight.repeat(3, 1, 1), bias.repeat(3, 1), head="means"
        )
        torch.testing.assert_close(
            centers(after)[:3], centers(before)[:3] @ weight.T + bias
        )
        torch.testing.assert_close(after.delta, before.delta)
        z, y = latents(mixture(), n=20)
        shift = (centers(after) - centers(before))[y]
        torch.testing.assert_close(after.log_prob(z + shift, y), before.log_prob(z, y))


def test_ldc_undoes_an_affine_map_to_the_digit_and_procrustes_a_rotation():
    z, y = latents(mixture(), n=50)
    for name, weight, options in (
        ("ldc", affine_map()[0], {"shrinkage": 0.0}),
        ("procrustes", rotation(), {}),
    ):
        bias = affine_map()[1]
        after = ALIGNERS[name](mixture(), evidence(weight, bias), **options)
        log_det = torch.linalg.slogdet(weight).logabsdet
        got = after.log_prob(z @ weight.T + bias, y) + log_det
        old = y < 3
        torch.testing.assert_close(
            got[old], mixture().log_prob(z, y)[old], rtol=1e-9, atol=1e-9
        )


def test_a_map_that_is_not_theirs_to_undo_stays():
    weight, bias = affine_map()
    z, y = latents(mixture(), n=300)
    z = z[y < 3]
    y = y[y < 3]
    there = z @ weight.T + bias
    log_det = torch.linalg.slogdet(weight).logabsdet
    lost = {
        name: (
            mixture().log_prob(z, y)
            - ALIGNERS[name](mixture(), evidence(weight, bias)).log_prob(there, y)
        ).mean()
        - log_det
        for name in ALIGNERS
    }
    assert lost["identity"] > lost["mean_shift"] > lost["procrustes"] > 0.2
    assert max(abs(lost[name]) for name in ("ldc", "refit", *DRAWN, *STREAMED)) < 0.2


@pytest.mark.parametrize("name", ["refit", *DRAWN, *STREAMED])
def test_only_the_full_head_undoes_a_stretch(name):
    stretch = torch.linspace(0.4, 2.5, DIM).diag()
    z, y = latents(mixture(), n=300)
    z = z[y < 3]
    y = y[y < 3]
    log_det = torch.linalg.slogdet(stretch).logabsdet
    after = {
        head: ALIGNERS[name](mixture(), evidence(stretch, NOTHING[1]), head=head)
        for head in HEADS
    }
    lost = {
        head: (mixture().log_prob(z, y) - m.log_prob(z @ stretch, y)).mean() - log_det
        for head, m in after.items()
    }
    assert lost["full"] < 0.2 and lost["means"] > 0.5


def test_sdc_moves_each_center_as_the_patches_near_it_do():
    before = mixture()
    z = torch.cat(
        [
            centers(before)[0] + torch.randn(200, DIM),
            centers(before)[1] + torch.randn(200, DIM),
        ]
    )
    shift = torch.cat([torch.ones(200, 1), -torch.ones(200, 1)]) * torch.eye(DIM)[0]
    after = ALIGNERS["sdc"](
        before, Evidence((0, 1), drift=(z, z + shift)), head="means"
    )
    step = (centers(after) - centers(before))[:2, 0]
    assert step[0] > 0.5 and step[1] < -0.5


# ---- draws


def test_transport_from_a_flow_to_itself_is_the_identity():
    weight, bias = affine_map()
    law = {k: gaussian_law(torch.randn(100, DIM) + k) for k in OLD}
    inverse = torch.linalg.inv(weight)
    same = Evidence(
        OLD,
        latents=law,
        flow=lambda x, c: x @ weight.T + bias,
        inverse=lambda z, c: (z - bias) @ inverse.T,
    )
    there, y, _ = transported(same)
    stayed = Evidence(OLD, latents=law, flow=lambda x, c: x, inverse=lambda z, c: z)
    torch.testing.assert_close(there, transported(stayed)[0], rtol=1e-10, atol=1e-10)
    assert y.bincount().tolist() == [same.n_draws] * 3


def test_draws_that_the_old_flow_cannot_invert_are_left_out():
    law = {0: gaussian_law(torch.randn(100, DIM))}
    broken = Evidence(
        (0,),
        latents=law,
        flow=lambda x, c: x,
        inverse=lambda z, c: z.where(z[:, :1] > 0, math.inf * z),
    )
    z, y, _ = transported(broken)
    assert 0 < len(z) < broken.n_draws and z.isfinite().all() and len(z) == len(y)


def test_draws_go_through_the_flow_at_the_cell_that_they_were_drawn_for():
    law = {k: gaussian_law(torch.randn(100, DIM), n_cells=9) for k in OLD}
    seen = []

    def flow(x: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        seen.append((x, cells))
        return x

    draws = pushed(Evidence(OLD, features=law, flow=flow))
    generator = torch.Generator().manual_seed(0)
    expected = [law[k].sample(2048, generator=generator) for k in OLD]
    assert torch.equal(seen[0][0], torch.cat([x for x, _ in expected]))
    assert torch.equal(draws.cells, torch.cat([cells for _, cells in expected]))


# ---- heads


@each_head
def test_a_head_is_the_mixture_of_its_components(head):
    stats = GaussianStats.of(
        torch.randn(400, DIM) + 2, torch.randn(400, 3).mul(2).softmax(1)
    )
    out = headed(mixture(), 1, stats, head=head, shrinkage=0.0)
    z = torch.randn(50, DIM) + 2
    covariance = (
        torch.eye(DIM) if head == "means" else stats.scatter.sum(0) / stats.n.sum()
    )
    tied = GaussianStats(stats.n, stats.mean, stats.n[:, None, None] * covariance)
    expected = (tied.log_prob(z) + (stats.n / stats.n.sum()).log()).logsumexp(1)
    torch.testing.assert_close(
        out.log_prob(z, torch.ones(50, dtype=torch.long)),
        expected,
        rtol=1e-4,
        atol=1e-4,
    )
    torch.testing.assert_close(centers(out)[1], (stats.n @ stats.mean) / stats.n.sum())
