"""Moves of the flow: old latents carried to the new ones.

Old latents carried to the new ones, exactly, and which maps would have done the same.
"""

__all__ = [
    "FITS",
    "Moved",
    "explained",
    "moved_images",
    "moved_samples",
    "moves_of",
    "transport",
]

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from analysis.experiments import table
from analysis.ledger.measure import learnt_before
from cl_flow.align.affine import least_squares
from cl_flow.align.draws import mixture_draws
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.devices import one_thread, pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run

FITS = ("rigid", "affine", "class_affine")


@table
def transport(
    run: Run,
    *,
    after: int = -1,
    tasks: Sequence[int] | None = None,
    source: Sequence[str] = ("images",),
    n_images: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Effect of $\Phi = f_T \circ f_j^{-1}$ on each class's latents.

    Those that it had when it was learned.

    A patch keeps its backbone features, so Φ is exact. From `images` old and new
    latents come of normal training images; from the `mixture` no image is needed:
    latents are drawn from the old class, taken back to features by the old flow, and on
    by the new one. No training ever filled all of a class, and what is drawn where it
    was empty goes astray: the tenth of the draws that goes farthest is left out, with
    what is not finite.

    How to read it: `drift` is how far the class's mean went and `displacement` the root
    mean square of how far a latent went, both in standard deviations of a component. R²
    says how much of where latents went a map explains: one `rigid` or `affine` map for
    all classes of the task, or one per class (`class_affine`); what the last one leaves
    no refit of `cl_flow.align.refits` can undo. `logp` per dimension changes by what
    the mixture says of the latents (`mixture`) and by the flow's volume (`volume`):
    volume is out of reach of every center.

    Args:
        run: One run, or many, that learn task after task.
        after: The step that is diagnosed, as in `ledger`.
        tasks: Which earlier tasks; all by default.
        source: Where old latents come from: `"images"`, `"mixture"`, or both.
        n_images: Images per category; of the mixture, so many grids of latents.
        seed: Seeds the draws.

    Returns:
        One row per `step task level source category quantity`, with its `value`. R² is
        of the whole task (`category` = "all"); `kept` is the share of latents that was
        not left out.

    Example:
        >>> sorted(set(transport(run)["quantity"]))
        ['affine', 'class_affine', 'displacement', 'drift', 'kept', 'logp', 'mixture',
        'rigid', 'volume']
    """
    refuse_unknown("source", source, ("images", "mixture"))
    after = run[after].step
    new = run[after].model(pick_device())
    rows = []
    places = learnt_before(run, after, tasks)
    title = f"moves of {run.name}"
    for task, step in Bar(places.items(), desc=title, unit="task"):
        old = run[step].model(pick_device())
        for kind in source:
            if kind == "images":
                draw = partial(
                    moved_images, old, new, run.features, n_images=n_images, seed=seed
                )
            else:
                draw = partial(moved_samples, old, new, n=n_images, seed=seed)
            moved = [draw(name) for name in run.tasks[task]]
            for i, level in enumerate(zip(*moved)):
                keys = (after, task, i, kind)
                rows += [
                    (*keys, name, *row)
                    for name, one in zip(run.tasks[task], level)
                    for row in moves_of(one).items()
                ]
                fits = explained([one.old for one in level], [one.new for one in level])
                rows += [(*keys, "all", *row) for row in fits.items()]
    return pd.DataFrame(
        rows,
        columns=["step", "task", "level", "source", "category", "quantity", "value"],
    )


class Moved(NamedTuple):
    """Latents of one class before and after (N, D).

    With what log p changed by per dimension (N,), and the share kept.
    """

    old: Tensor
    new: Tensor
    mixture: Tensor
    volume: Tensor
    kept: float


@torch.inference_mode()
@one_thread
def moved_images(
    old: FlowModel,
    new: FlowModel,
    features: Features,
    category: str,
    *,
    n_images: int = 32,
    seed: int = 0,
) -> list[Moved]:
    """Old and new latents of training images of one category, per level."""
    images = features.where(split="train", label=0, category=category)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    out = []
    for i, x in enumerate(images.read(order[:n_images].numpy())):
        x = x.flatten(0, 1).to(old.levels[i].codes)
        (z, before), (moved, after) = old.levels[i](x), new.levels[i](x)
        out.append(_compared((old, new), i, category, (z, moved), after - before))
    return out


@torch.inference_mode()
@one_thread
def moved_samples(
    old: FlowModel, new: FlowModel, category: str, *, n: int = 32, seed: int = 0
) -> list[Moved]:
    """Old and new latents of draws from the old class, per level.

    `n` grids, and where the new flow takes what they stand for.
    """
    generator = torch.Generator().manual_seed(seed)
    out = []
    for i, level in enumerate(old.levels):
        ids = old.class_ids([category]).tolist()
        (z,) = mixture_draws(
            level.mixture, ids, n * len(level.codes), generator=generator
        )
        x, back = level.inverse(z)
        moved, forth = new.levels[i](x)
        out.append(
            _compared((old, new), i, category, (z, moved), forth + back, keep=0.9)
        )
    return out


def _compared(
    models: tuple[FlowModel, FlowModel],
    level: int,
    category: str,
    latents: tuple[Tensor, Tensor],
    volume: Tensor,
    *,
    keep: float = 1.0,
) -> Moved:
    """One class of one level before and after.

    Of latents that go astray, only the share `keep` that goes least far.
    """
    logp = [
        model.levels[level].mixture.log_prob(z, model.class_ids([category]))
        for model, z in zip(models, latents)
    ]
    z, moved = latents
    far = ((moved - z).square().sum(1) + 0 * volume).nan_to_num(nan=torch.inf)
    kept = far.isfinite() & (far <= far.sort().values[math.ceil(keep * len(far)) - 1])
    values = (z, moved, (logp[1] - logp[0]) / z.shape[1], volume / z.shape[1])
    return Moved(
        *(value[kept].double().cpu() for value in values), kept.double().mean().item()
    )


def moves_of(one: Moved) -> dict[str, float]:
    """Moves of one class, by quantity."""
    mixture = one.mixture.mean().item()
    volume = one.volume.mean().item()
    return {
        "drift": (one.new.mean(0) - one.old.mean(0)).norm().item(),
        "displacement": (one.new - one.old).square().sum(1).mean().sqrt().item(),
        "logp": mixture + volume,
        "mixture": mixture,
        "volume": volume,
        "kept": one.kept,
    }


def explained(old: Sequence[Tensor], new: Sequence[Tensor]) -> dict[str, float]:
    """Fit R² of the best maps from old to new latents.

    Per class (N, D): rigid, affine, and affine per class.

    The families are nested, so that each explains at least what the one before does.
    """
    x = torch.cat(list(old))
    y = torch.cat(list(new))
    total = (y - y.mean(0)).square().sum()
    centered = x - x.mean(0)
    target = y - y.mean(0)
    left, _, right = torch.linalg.svd(centered.T @ target, full_matrices=False)
    left_over = {
        "rigid": (target - centered @ left @ right).square().sum(),
        "affine": _unexplained(x, y),
        "class_affine": sum(_unexplained(*pair) for pair in zip(old, new)),
    }
    return {name: (1 - rest / total).item() for name, rest in left_over.items()}


def _unexplained(x: Tensor, y: Tensor) -> Tensor:
    """Squared error of the affine map of least squares."""
    weight, bias = least_squares(x, y)
    return (y - x @ weight.T - bias).square().sum()
