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
from cl_flow.align.draws import mixture_pool
from cl_flow.align.law_fits import LawOptions, feature_laws, latent_laws
from cl_flow.align.laws import Patches
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
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
        "positional",
        "transport",
        "nominal",
    ),
    n: int = 600,
    folds: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Two-sample AUC of drawn against real patches of the first task.

    By boosted trees under cross-validation, which see the patch and the row and column
    of its cell: the flow is told the cell, so a patch that lies where none like it ever
    did is no stand-in.

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

    Example:
        >>> told = sampler_auc(run, sampler=("real", "gaussian"))
        >>> sorted(set(told["sampler"]))
        ['gaussian', 'real']
    """
    refuse_unknown("sampler", sampler, SAMPLERS)
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
            for level, (x, cells) in enumerate(drawn):
                finite = x.isfinite().all(1)
                held = _patches(images, level, torch.Generator().manual_seed(seed))
                width = images.grids[level][1]
                fake = _placed(x[finite], cells[finite], width)
                true = _placed(held[0][-most:], held[1][-most:], width)
                value = _two_sample(fake, true, folds, seed)
                share = finite.float().mean().item()
                rows.append((name, category, level, value, share))
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


def _placed(x: Tensor, cells: Tensor, width: int) -> np.ndarray:
    """Patches (N, D + 2) with the row and column of their cells."""
    at = torch.stack([cells // width, cells % width], 1)
    return torch.cat([x, at.to(x)], 1).cpu().numpy()


def _patches(images: Features, level: int, generator: torch.Generator) -> Patches:
    """All patches (N, D) and cells (N,) in random order."""
    x = images.read()[level]
    cells = torch.arange(x.shape[1]).repeat(len(x))
    order = torch.randperm(len(cells), generator=generator)
    return x.flatten(0, 1)[order].float(), cells[order]


# ---- samplers: (model after the first task, training images of a class, its name, n,
# generator) -> per level patches (n, D) and cells (n,)


@SAMPLERS
def real(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """Other patches of the same images."""
    # The order that the patches to tell it from are the end of.
    seed = generator.initial_seed()
    out = []
    for level in range(len(model.levels)):
        order = torch.Generator().manual_seed(seed)
        x, cells = _patches(images, level, order)
        out.append((x[:n], cells[:n]))
    return out


@SAMPLERS
def gaussian(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """The Gaussian of the class's features, at any cell."""
    return _feature_draws(images, category, LawOptions(), n, generator)


@SAMPLERS
def gaussians_4(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """Four Gaussians of the class's features, at any cell."""
    return _feature_draws(images, category, LawOptions(4), n, generator)


@SAMPLERS
def positional(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """Eight Gaussians about the mean of each place, weighted by the place."""
    options = LawOptions(8, "full")
    return _feature_draws(images, category, options, n, generator)


@SAMPLERS("transport")
def transport_draws(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """Draw from the Gaussian of latents, back through the old flow.

    The flow is the one that learned the class.
    """
    laws = latent_laws(model, images, [category], LawOptions(), generator=generator)
    return _inverted(model, laws.pool(n, generator=generator))


@SAMPLERS
def nominal(
    model: FlowModel,
    images: Features,
    category: str,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    """Draw from the class's own mixture, back through the flow.

    As the model has it.
    """
    ids = model.class_ids([category]).tolist()
    latents = mixture_pool(model, ids, n, generator=generator, truncation=math.inf)
    return _inverted(model, latents)


def _feature_draws(
    images: Features,
    category: str,
    options: LawOptions,
    n: int,
    generator: torch.Generator,
) -> list[Patches]:
    device = torch.device("cpu")
    laws = feature_laws(images, [category], options, device=device, generator=generator)
    return [law.sample(n, generator=generator) for law in laws.classes[0]]


def _inverted(model: FlowModel, latents: PatchPool) -> list[Patches]:
    """Latents back through the flow, finite or not."""
    out = []
    for level, z, cells in zip(model.levels, latents.x, latents.cells):
        with torch.no_grad():
            x, _ = level.inverse(z, cells)
        out.append((x, cells))
    return out
