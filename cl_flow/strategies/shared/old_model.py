"""The model as the last task left it.

Until training begins it is the current one, so a copy is all it takes.
"""

__all__ = ["frozen", "per_image_fisher"]

import copy

import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.model.flow import FlowModel


def frozen(model: FlowModel) -> FlowModel:
    """A copy that never learns, on the same device."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def per_image_fisher(model: FlowModel, images: Features) -> dict[str, Tensor]:
    r"""Diagonal of the empirical Fisher information.

    For every parameter that learns, by name.

    $F_i = \frac1B \sum_b (\partial \log p(x_b|y_b) / \partial \theta_i)^2$, where the
    log-likelihood of an image is the mean over its patches and dimensions, summed over
    levels. The square is of each image's gradient: that of a batch's mean gradient
    would vanish wherever training has converged.

    References:
        Limitations of the Empirical Fisher Approximation (Kunstner et al., 2019)
        https://arxiv.org/abs/1905.12558
    """
    learning = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    fisher = [torch.zeros_like(parameter) for parameter in learning.values()]
    for x, y in zip(
        images.batches(1), model.class_ids(list(images.samples["category"]))
    ):
        gradient = torch.autograd.grad(
            _log_likelihood(model, x, y[None]),
            list(learning.values()),
            materialize_grads=True,
        )
        for total, g in zip(fisher, gradient):
            total.addcmul_(g, g, value=1 / len(images))
    return dict(zip(learning, fisher))


def _log_likelihood(model: FlowModel, images: list[Tensor], y: Tensor) -> Tensor:
    """The mean of log p(x|y)/D over patches, summed over levels."""
    total = 0.0
    for level, x in zip(model.levels, images):
        z, log_det = level(x.flatten(0, 1).to(level.codes))
        total = total + (level.mixture.log_prob(z, y) + log_det).mean() / level.dim
    return total
