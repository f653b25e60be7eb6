"""Likeness of a mixture to the joint one, in a space joined by an affine map."""

__all__ = ["measure_likeness"]

import pandas as pd
from torch import Tensor

from analysis.alignment.conclude import ERRORS
from analysis.alignment.measure import class_gaussian, gaussian_errors
from analysis.experiments import table
from analysis.scoring import task_of
from cl_flow.align.affine import least_squares
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.data.features import Features, union
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.runs.fitting import fit
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import encode


@table
def measure_likeness(
    run: Run, *, joint_seed: int | None = None, n_images: int = 16
) -> pd.DataFrame:
    """How near the mixture of a run's last model is to that of the joint model.

    Flows are told apart by no more than what each makes of a patch, so the two spaces
    are joined first: by the affine map of least squares from the run's latents of
    normal training patches to the joint model's of the same patches. What then differs
    is what no affine change of latents explains.

    How to read it: two joint models of different seeds (`joint_seed`) are as near as
    anything can be asked to be. `explained` is the R² of the map: where it is low, the
    spaces cannot be joined, and the errors speak of the flow more than of the mixture.

    Args:
        run: One run, or many; the joint model of the same seeds is trained when it is
            missing.
        joint_seed: Seed of the joint model, where it is to be another than the run's.
        n_images: Training images per category that the map is fitted to.

    Returns:
        One row per `level task category metric` with its `value`: `center_error`, the
        distance of the class means by the root-mean-square radius of the joint model's
        class; `symmetric_kl` of the class Gaussians, in nats per dimension; and, with
        an empty category, `explained`.

    Example:
        >>> sorted(set(measure_likeness(run)["metric"]))
        ['center_error', 'explained', 'symmetric_kl']
    """
    seeds = {} if joint_seed is None else {"seed_model": joint_seed}
    config = run.config.replace(strategy="joint", options={}, **seeds)
    joint = fit(config, folder=run.folder.parent)
    model, reference = (one[-1].model(pick_device()) for one in (run, joint))
    names = list(model.categories)
    images = _some_images(run.features, names, n_images)
    rows = []
    pairs = zip(encode(model, images).read(), encode(reference, images).read())
    for level, (z, other) in enumerate(pairs):
        weight, bias, explained = _joining(z.flatten(0, 1), other.flatten(0, 1))
        rows.append((level, -1, "", "explained", explained))
        for name in names:
            own = _carried(_class(model, level, name), weight, bias)
            errors = gaussian_errors(own, _class(reference, level, name))
            keys = (level, task_of(run, name), name)
            rows += [(*keys, *item) for item in zip(ERRORS, errors)]
    return pd.DataFrame(rows, columns=["level", "task", "category", "metric", "value"])


def _some_images(features: Features, names: list[str], n: int) -> Features:
    """The first n normal training images of each category."""
    of_class = [features.where(split="train", label=0, category=name) for name in names]
    return union([images.take(range(min(n, len(images)))) for images in of_class])


def _joining(z: Tensor, other: Tensor) -> tuple[Tensor, Tensor, float]:
    """Affine map of least squares from z to other (N, D), and its R²."""
    x, target = z.double(), other.double()
    weight, bias = least_squares(x, target)
    left = (target - x @ weight.T - bias).square().sum()
    explained = 1 - (left / (target - target.mean(0)).square().sum()).item()
    return weight, bias, explained


def _class(model: FlowModel, level: int, name: str) -> GaussianStats:
    (k,) = model.class_ids([name]).tolist()
    return class_gaussian(model.levels[level].mixture, k)


def _carried(own: GaussianStats, weight: Tensor, bias: Tensor) -> GaussianStats:
    """The Gaussian of u = W z + b."""
    weight, bias = weight.to(own.mean), bias.to(own.mean)
    mean = own.mean @ weight.T + bias
    covariance = weight @ own.covariance()[0] @ weight.T
    return GaussianStats(own.n, mean, covariance[None] * own.n)
