"""The losses against the textbook's formulas, by the kernel and by the plain terms."""

import math
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from cl_flow.model.kernels import plain_formulas
from cl_flow.model.losses import LossConfig, hgad_losses, hgad_total
from cl_flow.model.mixture import Mixture

pytestmark = pytest.mark.usefixtures("float64")

SMOOTHING = 0.02


def stirred(n_classes: int, n_components: int = 4) -> Mixture:
    mixture = Mixture(7, n_components=n_components).expand(n_classes)
    generator = torch.Generator().manual_seed(n_classes)
    for parameter in mixture.parameters():
        parameter.data += torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
    return mixture


def textbook(mixture: Mixture, z, log_det, y) -> dict[str, torch.Tensor]:
    y = y.repeat_interleave(len(z) // len(y))
    log_pi = mixture.phi.log_softmax(0)
    kernel = -0.5 * (z[:, None] - mixture.mu).square().sum(-1)
    target = (
        F.one_hot(y, mixture.n_classes) * (1 - SMOOTHING)
        + SMOOTHING / mixture.n_classes
    )
    gain = (kernel + log_pi.detach()).log_softmax(1) - log_pi.detach()
    within = -0.5 * (z[:, None] - mixture.components(detach_mu=True)[y]).square().sum(
        -1
    )
    log_joint = (within + mixture.psi.log_softmax(1)[y]).logsumexp(1) + log_det
    return {
        "g": -((kernel + log_pi).logsumexp(1) + log_det).mean() / mixture.dim,
        "mi": (target * gain).sum(1).mean(),
        "entropy": torch.distributions.Categorical(logits=kernel).entropy().mean(),
        "intra": -log_joint.mean() / mixture.dim,
        "z": -F.logsigmoid(
            (log_joint - 0.5 * mixture.dim * math.log(2 * math.pi)) / mixture.dim
        ).mean(),
    }


def plain(mixture: Mixture, z, log_det, y) -> dict[str, torch.Tensor]:
    with plain_formulas():
        return hgad_losses(
            mixture, z, log_det, y, intra=True, label_smoothing=SMOOTHING
        )


def agree(ours, theirs, inputs: list[torch.Tensor]) -> None:
    """Every term and all its gradients are the same."""
    assert list(ours) == list(theirs)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)
        grads = [
            torch.autograd.grad(
                terms[name], inputs, retain_graph=True, materialize_grads=True
            )
            for terms in (ours, theirs)
        ]
        for a, b in zip(*grads):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("images", [4, 12])
@pytest.mark.parametrize("n_components", [1, 4])
@pytest.mark.parametrize("n_classes", [1, 3])
def test_each_term_and_its_gradient_are_the_textbooks(n_classes, n_components, images):
    mixture = stirred(n_classes, n_components)
    z = torch.randn(12, 7).requires_grad_()
    log_det = torch.randn(12).requires_grad_()
    y = torch.arange(images) % n_classes
    inputs = [z, log_det, *mixture.parameters()]
    ours = hgad_losses(mixture, z, log_det, y, intra=True, label_smoothing=SMOOTHING)
    defined = plain(mixture, z, log_det, y)
    agree(ours, textbook(mixture, z, log_det, y), inputs)
    agree(ours, defined, inputs)
    agree(defined, textbook(mixture, z, log_det, y), inputs)
    assert "_Objective" in str(ours["g"].grad_fn.next_functions)
    assert "_Objective" not in str(defined["g"].grad_fn.next_functions)


@pytest.mark.parametrize("intra", [False, True])
def test_the_first_phase_has_the_first_terms(intra):
    mixture = stirred(3)
    z = torch.randn(6, 7)
    log_det = torch.randn(6)
    y = torch.tensor([0, 1, 2])
    for mode in (nullcontext, plain_formulas):
        with mode():
            terms = hgad_losses(mixture, z, log_det, y, intra=intra)
        names = ["g", "mi", "entropy"] + ["intra", "z"] * intra
        assert list(terms) == names


def test_plain_terms_can_be_differentiated_twice_and_transformed():
    mixture = stirred(3)
    y = torch.tensor([0, 2])

    def total(z, log_det):
        return hgad_total(hgad_losses(mixture, z, log_det, y, intra=True))

    z = torch.randn(4, 7)
    log_det = torch.randn(4)
    leaves = (z.clone().requires_grad_(), log_det.clone().requires_grad_())
    with plain_formulas():
        assert torch.autograd.gradgradcheck(total, leaves)
    expected = torch.autograd.grad(total(*leaves), leaves)
    found = torch.func.jacrev(total, argnums=(0, 1))(z, log_det)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(
        RuntimeError, match=r"within `cl_flow.model.plain_formulas\(\)`"
    ):
        torch.autograd.grad(total(*leaves), leaves, create_graph=True)


def test_the_total_weighs_the_terms():
    terms = {
        name: torch.tensor(value)
        for name, value in zip(("g", "mi", "entropy", "intra", "z"), (1, 2, 4, 8, 16.0))
    }
    assert (
        hgad_total(terms, LossConfig(mutual_information=10.0)).item()
        == 1 - 20 + 4 + 8 + 16
    )
    assert (
        hgad_total({name: terms[name] for name in ("g", "mi", "entropy")}).item()
        == 1 - 200 + 4
    )


def test_far_latents_give_finite_losses_in_single_precision():
    mixture = stirred(3).float()
    z = 1e4 * torch.randn(6, 7, dtype=torch.float32)
    terms = hgad_losses(
        mixture,
        z,
        torch.zeros(6, dtype=torch.float32),
        torch.tensor([0, 1, 2]),
        intra=True,
    )
    assert all(value.isfinite() for value in terms.values())


def test_frames_that_change_nothing_change_no_loss():
    mixture = stirred(3)
    z = torch.randn(12, 7)
    log_det = torch.randn(12)
    framed = mixture.framed(torch.eye(7).expand(3, -1, -1), torch.zeros(3, 7))
    plain, same = (
        hgad_losses(m, z, log_det, torch.tensor([0, 1, 2]), intra=True)
        for m in (mixture, framed)
    )
    assert list(plain) == list(same)
    for name in plain:
        torch.testing.assert_close(plain[name], same[name], rtol=1e-10, atol=1e-12)
