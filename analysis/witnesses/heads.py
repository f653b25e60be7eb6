"""Simple heads on patches: what tells classes apart, and what sees a defect."""

__all__ = ["class_head", "one_class_head"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cl_flow.align import GaussianStats

SHRINKAGE = 1e-3  # of each covariance, at its trace
Head = Callable[[Tensor], Tensor]


def class_head(training: Sequence[Tensor]) -> Head:
    r"""Ridge regression of the class, one-hot, in which all classes weigh the same.

    With class means $m_k$, their mean $m$ and the covariance $\Sigma$ around it, the
    slopes are $\Sigma_\lambda^{-1} (m_k - m) / K$. The penalty sees neither a rotation
    nor a shift nor a common scale.

    Args:
        training: Patches (N, D) of each class.

    Returns:
        Function from patches (N, D) to the index of their class (N,).
    """
    classes = [GaussianStats.of(x.double()) for x in training]
    means = torch.cat([one.mean for one in classes])
    within = torch.stack([one.scatter[0] / one.n for one in classes]).mean(0)
    center = means.mean(0)
    apart = means - center
    covariance = within + apart.T @ apart / len(means)
    ridge = SHRINKAGE * covariance.diagonal().mean()
    penalised = covariance + ridge * torch.eye(len(covariance)).to(covariance)
    slopes = torch.linalg.solve(penalised, apart.T)
    return lambda x: ((x.double() - center) @ slopes).argmax(1)


def one_class_head(training: Tensor) -> Head:
    """One Gaussian of a category's normal patches, wherever they lie.

    Args:
        training: Patches (N, D).

    Returns:
        Function from patches (N, D) to their log-density per dimension (N,).
    """
    law = GaussianStats.of(training.double())
    dim = training.shape[1]
    return lambda x: law.log_prob(x.double(), shrinkage=SHRINKAGE)[:, 0] / dim
