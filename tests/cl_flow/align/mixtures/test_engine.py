"""The engine against brute force.

The rules of the papers, exact recursions, EM, and what a gate lets in.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn.mixture import GaussianMixture

from cl_flow.align import POLICIES, GaussianStats, PrecisionStats, learn_mixture
from cl_flow.align.mixtures import chi2_quantile
from cl_flow.align.mixtures.gated import Gated
from cl_flow.align.mixtures.merging import equality
from cl_flow.align.mixtures.stepwise import Stepwise

pytestmark = pytest.mark.usefixtures("float64")
DIM = 4
FOREVER = {"min_age": math.inf}
NAMES = list(POLICIES)


def blobs(
    n: int = 300, *, centers: int = 3, seed: int = 0, dim: int = DIM
) -> torch.Tensor:
    """Points around a few distant centers, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    means = 12 * torch.randn(centers, dim, generator=generator)
    which = torch.randint(centers, (n,), generator=generator)
    return means[which] + torch.randn(n, dim, generator=generator) @ (
        torch.eye(dim) + 0.3
    )


def same(a: GaussianStats, b: GaussianStats, tolerance: float = 1e-10) -> None:
    for name in ("n", "mean", "scatter"):
        torch.testing.assert_close(
            getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance
        )


# ---- the sequential rules


def igmn_by_hand(
    x: np.ndarray, spread: float, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, means and covariances of IGMN as the papers' pseudo-code has it.

    But for the exact covariance.
    """
    sp = []
    mu = []
    C = []
    limit = scipy_stats.chi2.ppf(1 - beta, x.shape[1])
    for row in x:
        d2 = [(row - m) @ np.linalg.inv(c) @ (row - m) for m, c in zip(mu, C)]
        if not d2 or min(d2) > limit:
            sp = [*sp, 1.0]
            mu = [*mu, row.copy()]
            C = [*C, spread**2 * np.eye(len(row))]
            continue
        density = [
            s * scipy_stats.multivariate_normal.pdf(row, m, c)
            for s, m, c in zip(sp, mu, C)
        ]
        for j, r in enumerate(np.array(density) / np.sum(density)):
            sp[j] += r
            w = r / sp[j]
            e = row - mu[j]
            mu[j] = mu[j] + w * e
            C[j] = (1 - w) * C[j] + w * (1 - w) * np.outer(e, e)
    return np.array(sp), np.array(mu), np.array(C)


@pytest.mark.parametrize("name", ["igmn", "figmn"])
def test_a_batch_of_one_is_the_sequential_rule(name):
    x = blobs()
    state = learn_mixture(
        x, POLICIES[name](spread=2.0, beta=0.01, calibrate=False, **FOREVER), batch=1
    )
    sp, mu, C = igmn_by_hand(x.numpy(), 2.0, 0.01)
    np.testing.assert_allclose(state.components.n, sp, rtol=1e-9)
    np.testing.assert_allclose(state.components.mean, mu, rtol=1e-9)
    np.testing.assert_allclose(state.components.covariance(), C, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize(
    "options", [{}, {"prior": 5.0}, {"calibrate": False}, {"max_components": 2}]
)
def test_figmn_is_igmn(batch, options):
    x = blobs()
    igmn, figmn = (
        learn_mixture(x, POLICIES[name](spread=2.0, **options), batch=batch)
        for name in ("igmn", "figmn")
    )
    same(figmn.components, igmn.components)
    torch.testing.assert_close(
        figmn.log_prob(x), igmn.log_prob(x), rtol=1e-10, atol=1e-10
    )


def test_figmn_is_igmn_as_printed_too():
    x = blobs(200, centers=1)
    options = {"spread": 6.0, "beta": 1e-6, "variant": "paper"}
    one = Gated(tau=None, **options).start(x)
    begun = dataclasses.replace(
        one, stats=GaussianStats.of(x[:40]), age=torch.zeros(1), tally=torch.ones(1, 2)
    )
    states = []
    for precision in (False, True):
        stats = PrecisionStats.of_stats(begun.stats) if precision else begun.stats
        policy = Gated(tau=None, precision=precision, **options)
        states.append(
            learn_mixture(
                x[40:], policy, state=dataclasses.replace(begun, stats=stats), batch=1
            )
        )
    same(states[1].components, states[0].components)
    exact = learn_mixture(x[40:], Gated(beta=1e-6, spread=6.0), state=begun)
    torch.testing.assert_close(states[0].stats.mean, exact.stats.mean)
    assert (states[0].stats.scatter - exact.stats.scatter).abs().max() > 1e-3


@pytest.mark.parametrize("share", [0.05, 0.2, 0.37, 0.381, 0.383, 0.5])
def test_the_printed_update_is_what_its_algebra_says_and_turns_indefinite_past_382(
    share,
):
    e = 100 * torch.ones(1, 2)
    # One more point is then this share of its component.
    n = (1 - share) / share
    before = GaussianStats(torch.tensor([n]), torch.zeros(1, 2), n * torch.eye(2)[None])
    policy = Gated(beta=1e-9, spread=1.0, variant="paper", max_components=1)
    state = dataclasses.replace(
        policy.start(torch.eye(2)),
        stats=before,
        age=torch.ones(1),
        tally=torch.ones(1, 2),
    )
    after = policy.observe(state, e).stats.covariance()[0]
    torch.testing.assert_close(
        after, (1 - share) * torch.eye(2) + share * (1 - 3 * share + share**2) * e.T @ e
    )
    assert bool((torch.linalg.eigvalsh(after) > 0).all()) == (
        share < (3 - math.sqrt(5)) / 2
    )


@pytest.mark.parametrize("precision", [False, True])
def test_the_printed_update_fails_on_a_second_point_far_away(precision):
    x = torch.tensor([[0.0, 0.0], [9.0, 0.0], [1.0, 1.0]])
    policy = Gated(beta=1e-9, spread=1.5, variant="paper", precision=precision)
    with pytest.raises(ValueError, match="positive definite|full rank"):
        learn_mixture(x, policy, batch=1)
    assert (
        len(learn_mixture(x, dataclasses.replace(policy, variant="exact"), batch=1))
        == 1
    )


# ---- exactness


def test_the_recursion_is_the_weighted_batch_in_any_order():
    x = blobs(60)
    weights = torch.rand(60, 2)
    start = GaussianStats(
        torch.ones(2), torch.randn(2, DIM), torch.eye(DIM).expand(2, DIM, DIM)
    )
    for stats in (start, PrecisionStats.of_stats(start)):
        whole = stats.absorb(x, weights)
        for order in (torch.arange(60), torch.randperm(60)):
            one_by_one = stats
            for i in order:
                one_by_one = one_by_one.absorb(x[i : i + 1], weights[i : i + 1])
            halves = stats.absorb(x[order[:30]], weights[order[:30]]).absorb(
                x[order[30:]], weights[order[30:]]
            )
            for got in (one_by_one, halves):
                for name, expected in vars(whole).items():
                    torch.testing.assert_close(
                        getattr(got, name), expected, rtol=1e-10, atol=1e-10
                    )


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 50])
def test_precisions_and_log_determinants_are_those_of_direct_inversion(n_rows):
    start = GaussianStats.of(blobs(30), torch.rand(30, 3) + 0.1)
    x = blobs(n_rows, seed=1)
    weights = torch.rand(n_rows, 3)
    kept = PrecisionStats.of_stats(start).absorb(x, weights)
    direct = start.absorb(x, weights)
    torch.testing.assert_close(
        kept.inverse, torch.linalg.inv(direct.scatter), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(
        kept.log_det,
        torch.linalg.slogdet(direct.scatter).logabsdet,
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(
        kept.log_prob(x), direct.log_prob(x), rtol=1e-10, atol=1e-10
    )
    same(kept.to_stats(), direct)


def test_one_point_is_the_rank_one_update_of_the_paper():
    stats = GaussianStats.of(blobs(30))
    x = torch.randn(1, DIM)
    r = 0.7
    precision = stats.covariance()[0].inverse()
    log_det = torch.logdet(stats.covariance()[0])
    w = r / (stats.n[0] + r)
    e = x[0] - stats.mean[0]
    kappa = w * (1 - w)
    d2 = e @ precision @ e
    f = 1 + kappa * d2 / (1 - w)
    after = (
        precision - (kappa / (1 - w)) / f * torch.outer(precision @ e, precision @ e)
    ) / (1 - w)
    got = PrecisionStats.of_stats(stats).absorb(x, torch.tensor([[r]]))
    torch.testing.assert_close(got.n[0] * got.inverse[0], after)
    torch.testing.assert_close(
        got.distances(x)[1][0], log_det + DIM * (1 - w).log() + f.log()
    )


@pytest.mark.parametrize("name", ["igmm", "igmn", "figmn", "online_em"])
@pytest.mark.parametrize("seed", range(5))
def test_covariances_stay_positive_definite_over_random_streams(name, seed):
    x = blobs(150, centers=seed + 1, seed=seed) * 10.0 ** (seed - 2)
    state = learn_mixture(x, POLICIES[name](), batch=1 + 3 * seed)
    assert (torch.linalg.eigvalsh(state.components.covariance()) > 0).all()
    assert state.log_prob(x).isfinite().all()


# ---- online EM


def test_a_step_of_rate_one_on_all_data_is_a_step_of_em():
    x = blobs()
    reference = GaussianMixture(
        3,
        means_init=x[:3].numpy(),
        max_iter=1,
        init_params="random_from_data",
        random_state=0,
    )
    reference.precisions_init = np.stack([np.eye(DIM)] * 3)
    reference.weights_init = np.full(3, 1 / 3)
    with pytest.warns(Warning, match="converge"):
        reference.fit(x.numpy())
    policy = Stepwise(3, t0=1.0)
    state = policy.observe(
        policy.start_at(
            GaussianStats(torch.ones(3), x[:3], torch.eye(DIM).expand(3, -1, -1))
        ),
        x,
    )
    np.testing.assert_allclose(state.density.n, reference.weights_, rtol=1e-8)
    np.testing.assert_allclose(state.density.mean, reference.means_, rtol=1e-8)
    np.testing.assert_allclose(
        state.density.covariance(), reference.covariances_, rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(
        state.log_prob(x), reference.score_samples(x.numpy()), rtol=1e-8
    )


def test_online_em_at_alpha_one_is_igmn_with_clocks_of_their_own():
    x = blobs()
    begun = GaussianStats.of(x[:100], torch.randn(100, 2).softmax(1))
    stepwise = Stepwise(2, alpha=1.0, t0=101.0, ridge=0.0)
    online = learn_mixture(x[100:], stepwise, state=stepwise.start_at(begun), batch=1)
    gated = Gated(beta=0.5, spread=1.0, max_components=2, **FOREVER)
    state = dataclasses.replace(
        gated.start(x), stats=begun, age=torch.zeros(2), tally=torch.ones(2, 2)
    )
    own = learn_mixture(x[100:], gated, state=state, batch=1)
    same(online.stats, own.stats.decay(1 / own.stats.n.sum()), tolerance=1e-9)


def test_parameters_wait_for_n_min_and_their_mean_is_kept():
    x = blobs()
    policy = POLICIES["online_em"](n_components=3, n_min=100, average=True)
    state = learn_mixture(x[:99], policy, batch=9)
    assert torch.equal(state.current.mean, policy.start(x[:99]).fitted.mean)
    means = []
    fitted = state
    for part in x[99:].split(20):
        fitted = policy.observe(fitted, part)
        means.append(fitted.current.mean)
    torch.testing.assert_close(fitted.density.mean, torch.stack(means).mean(0))


# ---- gates and removal


@pytest.mark.parametrize("dof", [1, 2, 10, 200])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.999])
def test_quantiles_are_those_of_chi_square(dof, level):
    assert chi2_quantile(level, dof) == pytest.approx(
        scipy_stats.chi2.ppf(level, dof), rel=1e-8
    )


@pytest.mark.parametrize(("policy", "limit"), [
    (Gated(tau=0.01, spread=1.0, calibrate=False), -2 * math.log(0.01)),
    (Gated(beta=0.05, spread=1.0, calibrate=False), scipy_stats.chi2.ppf(0.95, 2)),
])  # fmt: skip
def test_a_gate_opens_up_to_its_distance(policy, limit):
    for factor, n in ((0.999, 1), (1.001, 2)):
        x = torch.tensor([[0.0, 0.0], [math.sqrt(limit * factor), 0.0]])
        assert (
            len(learn_mixture(x, policy, batch=1)) == len(learn_mixture(x, policy)) == n
        )


@pytest.mark.parametrize("name", ["igmm", "igmn", "figmn"])
@pytest.mark.parametrize("batch", [1, 50, None])
def test_distant_clusters_are_found_one_by_one(name, batch):
    x = blobs(centers=4, seed=6)
    gate = {"tau": 1e-4} if name == "igmm" else {"beta": 1e-4}
    state = learn_mixture(x, POLICIES[name](spread=3.0, **gate, **FOREVER), batch=batch)
    assert (state.components.n > 50).tolist() == [True] * 4
    assert (torch.cdist(state.components.mean, x).amin(1) < 2).all()


def test_a_gate_calibrated_on_accepted_distances_takes_back_its_own_points_in_200_dimensions():
    x = torch.randn(2048, 200, generator=torch.Generator().manual_seed(0))
    narrow = GaussianStats(
        torch.tensor([1e6]), torch.zeros(1, 200), 0.81e6 * torch.eye(200)[None]
    )
    narrow = PrecisionStats.of_stats(narrow)
    rejected = {}
    for calibrate in (False, True):
        policy = POLICIES["figmn"](spread=1.0, calibrate=calibrate, max_components=1)
        state = dataclasses.replace(
            policy.start(x), stats=narrow, age=torch.ones(1), tally=torch.ones(1, 2)
        )
        state = learn_mixture(x, policy, state=state, batch=64)
        rejected[calibrate] = (
            (state.current.distances(x)[0] > policy.gates(state)).double().mean().item()
        )
    assert rejected[False] > 0.6 and rejected[True] < 0.1


def test_a_calibrated_gate_still_tells_another_cluster():
    x = torch.randn(600, 50, generator=torch.Generator().manual_seed(0))
    x[300:] += 3
    state = learn_mixture(
        x, POLICIES["figmn"](spread=1.0, prior=50.0, beta=1e-3), batch=20
    )
    assert (state.stats.n > 100).sum() == 2


def test_small_components_are_removed_when_old_and_the_last_one_stays():
    x = torch.cat([torch.zeros(1, 2), 50 + torch.randn(20, 2)])
    policy = Gated(beta=1e-3, spread=2.0, min_age=10, min_count=3)
    counts = [len(learn_mixture(x[:n], policy, batch=1)) for n in (5, 10, 11, 21)]
    assert counts == [2, 2, 1, 1]
    assert (
        len(learn_mixture(x[:1], dataclasses.replace(policy, min_age=0, min_count=5)))
        == 1
    )


# ---- merging


@pytest.mark.parametrize(("dim", "n_a", "n_b"), [(2, 8, 12), (5, 20, 30), (10, 40, 80)])
def test_equality_rejects_equal_components_as_often_as_its_level_says(dim, n_a, n_b):
    generator = torch.Generator().manual_seed(0)
    p = []
    for _ in range(600):
        a, b = (
            GaussianStats.of(torch.randn(n, dim, generator=generator))
            for n in (n_a, n_b)
        )
        p.append(equality(a, b))
    assert scipy_stats.kstest(torch.cat(p), "uniform").pvalue > 0.01


def test_equality_sees_a_shift_a_stretch_and_too_few_points():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    a = GaussianStats.of(x[:100])
    others = (x[100:], x[100:] + 1, x[100:] * 2, x[100:104])
    p = [equality(a, GaussianStats.of(other)).item() for other in others]
    assert p[0] > 0.05 and max(p[1:]) < 1e-6 and p[3] == 0


def test_what_arrives_again_merges_and_what_is_new_is_added():
    old, again, new = (
        torch.randn(200, 3, generator=torch.Generator().manual_seed(i))
        for i in range(3)
    )
    policy = POLICIES["merge"]()
    first = learn_mixture(old, policy)
    both = learn_mixture(again, policy, state=first)
    same(both.stats, GaussianStats.of(torch.cat([old, again])))
    assert len(learn_mixture(new + 9, policy, state=both)) == 2


def test_each_arrival_is_cut_into_as_many_as_bic_prefers():
    x = blobs(600, centers=3, seed=5)
    assert len(learn_mixture(x, POLICIES["merge"]())) == 3


# ---- the density


@pytest.mark.parametrize("name", NAMES)
def test_its_density_is_that_of_its_components(name):
    x = blobs()
    state = learn_mixture(x, POLICIES[name]())
    c = state.components
    weights = (c.n / c.n.sum()).numpy()
    expected = sum(
        w * scipy_stats.multivariate_normal.pdf(x.numpy(), m, s)
        for w, m, s in zip(weights, c.mean, c.covariance())
    )
    np.testing.assert_allclose(state.log_prob(x).exp(), expected, rtol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_the_density(name):
    x = blobs()
    state = learn_mixture(x, POLICIES[name]())
    drawn, k = state.sample(100_000, generator=torch.Generator().manual_seed(0))
    share = state.components.n / state.components.n.sum()
    torch.testing.assert_close(
        k.bincount(minlength=len(state)) / 100_000, share, atol=0.01, rtol=0
    )
    for j in range(len(state)):
        of_one = GaussianStats.of(drawn[k == j])
        torch.testing.assert_close(
            of_one.mean[0], state.components.mean[j], atol=0.3, rtol=0.1
        )
        torch.testing.assert_close(
            of_one.covariance()[0], state.components.covariance()[j], atol=0.5, rtol=0.1
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_can_be_taken_up_again_and_leaves_its_past_alone(name):
    x = blobs()
    policy = POLICIES[name]()
    whole = learn_mixture(x, policy, batch=50)
    first = learn_mixture(x[:150], policy, batch=50, state=policy.start(x))
    before = first.stats.mean.clone()
    again = learn_mixture(x[150:], policy, batch=50, state=first)
    same(again.components, whole.components)
    assert torch.equal(first.stats.mean, before) and again.seen == 300


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: learn_mixture(x[0], POLICIES["igmn"]()), r"points \(N, D\)"),
        (
            lambda x: learn_mixture(x, POLICIES["igmn"](), batch=0),
            "batch ≥ 1; got .* and 0",
        ),
        (
            lambda x: learn_mixture(x[:1], POLICIES["igmn"]()),
            "differ in every dimension.*pass spread",
        ),
        (lambda x: POLICIES["igmn"](variant="new"), "'exact' or 'paper'; got 'new'"),
        (lambda x: Gated(), "one of tau and beta.*got None and None"),
        (
            lambda x: POLICIES["online_em"](alpha=0.3),
            r"alpha of 0 or in \(½, 1\].*got 0.3",
        ),
        (
            lambda x: learn_mixture(x[:2], POLICIES["online_em"](n_components=3)),
            "as many points as components.*got 2 and 3",
        ),
        (
            lambda x: learn_mixture(x[:1].expand(5, -1), POLICIES["online_em"]()),
            "2 distinct points.*got 1",
        ),
        (
            lambda x: POLICIES["em"],
            "Unknown policy 'em'; known: figmn, igmm, igmn, merge, online_em",
        ),
        (lambda x: chi2_quantile(1.0, 3), r"probability in \(0, 1\); got 1.0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises((ValueError, KeyError), match=message):
        call(blobs(20))
