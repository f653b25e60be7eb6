"""Samplers: patches that stand for old classes, and how real they are.

Can a classifier tell them from the images' own?
"""

__all__ = ["SAMPLERS", "sampler_auc"]

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from analysis.experiments import table
from analysis.metrics import image_auroc
from cl_flow.align.draws import inverted_at_random_cells, mixture_draws
from cl_flow.align.laws import Gaussians, feature_gaussians, latent_gaussians
from cl_flow.data.features import Features
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.registry import Registry
from cl_flow.runs.run import Run

SAMPLERS: Registry = Registry("sampler")


@table
def sampler_auc(
    run: Run,
    *,
    sampler: Sequence[str] = (
        "real",
        "gaussian",
        "gaussians_4",
        "transport",
        "nominal",
    ),
    n: int = 600,
    folds: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Two-sample AUC of drawn against real patches of the first task.

    By boosted trees under cross-validation.

    How to read it: .5 cannot be told apart, 1 can always. `real`, other patches of the
    same images, is the control; what it shows beside .5 is chance.

    References:
        Revisiting classifier two-sample tests (Lopez-Paz and Oquab, 2017)
        https://arxiv.org/abs/1610.06545

    Args:
        run: One run, or many.
        sampler: Names in `SAMPLERS`.
        n: Patches of each kind; half of those there are, at most.
        folds: Of the cross-validation.
        seed: Seeds draws and trees.

    Returns:
        One row per `sampler category level`, with its `value` and the share of draws
        that are `finite`.
    """
    model = run[0].model(pick_device())
    training = run.features.where(split="train", label=0)
    rows = []
    for name in Bar(sampler, desc=f"sampling {run.name}", unit="sampler"):
        for category in run[0].categories:
            images = training.where(category=category)
            most = min(
                n, len(images) * min(len(level.codes) for level in model.levels) // 2
            )
            drawn = SAMPLERS[name](
                model, images, category, most, torch.Generator().manual_seed(seed)
            )
            for level, x in enumerate(drawn):
                finite = x.isfinite().all(1)
                held = _patches(images, level, torch.Generator().manual_seed(seed))[
                    -most:
                ]
                value = _two_sample(x[finite].cpu().numpy(), held.numpy(), folds, seed)
                rows.append(
                    (name, category, level, value, finite.float().mean().item())
                )
    return pd.DataFrame(
        rows, columns=["sampler", "category", "level", "value", "finite"]
    )


def _two_sample(a: np.ndarray, b: np.ndarray, folds: int, seed: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict

    x = np.concatenate([a, b])
    labels = np.repeat([1, 0], [len(a), len(b)])
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=seed)
    with threadpool_limits(
        1, user_api="openmp"
    ):  # the trees are too small to be worth splitting
        guesses = cross_val_predict(trees, x, labels, cv=folds, method="predict_proba")
    return image_auroc(labels, guesses[:, 1])


def _patches(images: Features, level: int, generator: torch.Generator) -> Tensor:
    """All patches (N, D) in random order."""
    x = images.read()[level].flatten(0, 1).float()
    return x[torch.randperm(len(x), generator=generator)]


# ---- samplers: (model after the first task, training images of a class, its name, n,
# generator) -> per level (n, D)


@SAMPLERS
def real(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Other patches of the same images."""
    # The order that the patches to tell it from are the end of.
    seed = generator.initial_seed()
    orders = [torch.Generator().manual_seed(seed) for _ in model.levels]
    return [_patches(images, level, order)[:n] for level, order in enumerate(orders)]


@SAMPLERS
def gaussian(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """The Gaussian of the class's features."""
    return _feature_draws(images, category, 1, n, generator)


@SAMPLERS
def gaussians_4(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Four Gaussians of the class's features."""
    return _feature_draws(images, category, 4, n, generator)


@SAMPLERS("transport")
def transport_draws(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Draw from the Gaussian of latents, back through the old flow.

    The flow is the one that learnt the class.
    """
    laws = latent_gaussians(model, images, [category])
    return _inverted(
        model, [z[0] for z in laws.sample(n, generator=generator)], generator
    )


@SAMPLERS
def nominal(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Draw from the class's own mixture, back through the flow.

    As the model has it.
    """
    ids = model.class_ids([category]).tolist()
    z = []
    for level in model.levels:
        draws = mixture_draws(
            level.mixture, ids, n, generator=generator, truncation=math.inf
        )
        z.append(draws[0])
    return _inverted(model, z, generator)


def _feature_draws(
    images: Features, category: str, m: int, n: int, generator: torch.Generator
) -> list[Tensor]:
    laws: Gaussians = feature_gaussians(
        images,
        [category],
        n_components=m,
        device=torch.device("cpu"),
        generator=generator,
    )
    return [x[0] for x in laws.sample(n, generator=generator)]


def _inverted(
    model: FlowModel, z: Sequence[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Latents back through the flow, at cells drawn uniformly."""
    out = []
    for level, latents in zip(model.levels, z):
        latents = latents.to(level.codes)
        patches, _ = inverted_at_random_cells(level, latents, generator=generator)
        out.append(patches)
    return out
