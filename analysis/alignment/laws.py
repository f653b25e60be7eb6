"""Class laws measured: how likely they make patches that they never saw."""

__all__ = ["measure_laws"]

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from cl_flow.align.law_fits import (
    POSITIONS,
    LawOptions,
    feature_laws,
    image_patches,
)
from cl_flow.align.laws import PatchLaw
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import pick_device
from cl_flow.runs.run import Run

FOLDS = 5


@table
def measure_laws(
    run: Run,
    *,
    components: Sequence[int] = (1, 4, 8, 16),
    position: Sequence[str] = ("pooled", "full"),
    places: Sequence[int] = (256,),
    category: Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Held-out likelihood of class laws, and the bytes that they take.

    Each law is fitted to four fifths of a category's normal training images, and asked
    for the density of the patches of the others, at their cells. No test image is
    seen, and no AUROC.

    How to read it: the law to keep is the smallest one whose likelihood the larger ones
    do not pass. More nats are better; what a pooled law lacks beside one that knows
    places is what it costs to draw the cell by itself.

    Args:
        run: One run, or many; their flow is not asked.
        components: Gaussians per class and level.
        position: What depends on where a patch lies (`LawOptions`).
        places: Places of a grid that are told apart, at most.
        category: Those to measure; those of the first task by default.
        seed: Seeds the fits.

    Returns:
        One row per `components position places category level`: `value`, the mean log
        density per dimension in nats, and the `n_bytes` of the law.

    Raises:
        KeyError: An unknown category.
        ValueError: A category of fewer than five images.

    Example:
        >>> laws = measure_laws(run, components=(1, 2))
        >>> sorted(set(laws["position"]))
        ['full', 'pooled']
    """
    chosen = list(run.tasks[0] if category is None else category)
    refuse_unknown("category", chosen, run.features.categories)
    refuse_unknown("position", position, POSITIONS)
    training = run.features.where(split="train", label=0)
    rows = []
    for name in chosen:
        seen, held = _split(training.where(category=name), name)
        for kind in position:
            for m in components:
                for n in places:
                    generator = torch.Generator().manual_seed(seed)
                    laws = feature_laws(
                        seen,
                        [name],
                        LawOptions(m, kind, n),
                        device=pick_device(),
                        generator=generator,
                    )
                    for level, law in enumerate(laws.classes[0]):
                        value = _likelihood(law, held, level)
                        rows.append((m, kind, n, name, level, value, law.nbytes))
    keys = ["components", "position", "places", "category", "level"]
    return pd.DataFrame(rows, columns=[*keys, "value", "n_bytes"])


def _split(images: Features, name: str) -> tuple[Features, Features]:
    """Images to fit to, and every fifth to ask about."""
    if len(images) < FOLDS:
        raise ValueError(
            f"Expected {FOLDS} normal training images of {name} or more; got "
            f"{len(images)}."
        )
    is_held = np.arange(len(images)) % FOLDS == 0
    return images.take(np.flatnonzero(~is_held)), images.take(np.flatnonzero(is_held))


def _likelihood(law: PatchLaw, images: Features, level: int) -> float:
    """Mean log p(x | cell)/D over all patches of images."""

    def seen(i: int, x: Tensor) -> Tensor:
        return x.to(law.mean.device)

    parts = [
        law.log_prob(x, cells).double() / x.shape[1]
        for x, cells in image_patches(images, level, seen)
    ]
    return torch.cat(parts).mean().item()
