"""Normality of patches: likelihood, and certainty of their class."""

__all__ = ["all_factors"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.model.class_views import views
from cl_flow.model.flow import FlowModel, Level
from cl_flow.scoring.latents import through

# Per level patches, or latents and their log-determinants.
LevelBatch = list[Tensor] | list[tuple[Tensor, Tensor]]


def all_factors(
    model: FlowModel,
    features: Features,
    given: str | None,
    known: Sequence[str] | None,
    per_log_k: bool,
) -> tuple[list[Tensor], Tensor]:
    """Both factors of every image (n, 2, S), per level.

    And the class of each image (n,).
    """
    ids = None if given is None else model.class_ids(list(features.samples["category"]))
    parts = views(model)
    factors = []
    classes = []
    for i, batch in enumerate(features.batches()):
        y = _route(parts, batch) if ids is None else ids[32 * i : 32 * i + 32]
        factors.append(_factors_of(parts, batch, y, known, per_log_k))
        classes.append(y)
    return [torch.cat(level) for level in zip(*factors)], torch.cat(classes).cpu()


def _factors_of(
    parts: Sequence[tuple[FlowModel, Tensor]],
    batch: LevelBatch,
    y: Tensor,
    known: Sequence[str] | None,
    per_log_k: bool,
) -> list[Tensor]:
    """`_factors` of every image under the view of its class."""
    if len(parts) == 1:
        return _factors(parts[0][0], batch, y, known, per_log_k)
    out = [
        torch.empty(len(y), 2, len(level.codes), device=y.device)
        for level in parts[0][0].levels
    ]
    for model, classes in parts:
        mine = torch.isin(y, classes)
        if mine.any():
            values = _factors(
                model,
                [_chosen(x, mine.cpu()) for x in batch],
                y[mine],
                known,
                per_log_k,
            )
            for level, part in zip(out, values):
                level[mine] = part
    return out


def _chosen(
    x: Tensor | tuple[Tensor, Tensor], images: Tensor
) -> Tensor | tuple[Tensor, Tensor]:
    return tuple(values[images] for values in x) if isinstance(x, tuple) else x[images]


def _factors(
    model: FlowModel,
    batch: LevelBatch,
    y: Tensor,
    known: Sequence[str] | None,
    per_log_k: bool,
) -> list[Tensor]:
    """Both factors of a batch, stacked (n, 2, S), per level.

    log p(x|y)/D and Σ p log p.
    """
    classes = None if known is None else model.class_ids(known)
    n_classes = model.n_classes if known is None else len(known)
    # A single class has no entropy to divide.
    unit = math.log(n_classes) if per_log_k and n_classes > 1 else 1.0
    out = []
    for level, x in zip(model.levels, batch):
        z, log_det = through(level, x, y)
        logp = (level.mixture.log_prob(z, y) + log_det) / level.dim
        certainty = level.mixture.negentropy(z, classes=classes) / unit
        out.append(torch.stack([f.view(len(y), -1) for f in (logp, certainty)], 1))
    return out


def _route(parts: Sequence[tuple[FlowModel, Tensor]], batch: LevelBatch) -> Tensor:
    """The class of highest mean log-likelihood per image (n,)."""
    return torch.cat(
        [_likelihoods(model, batch, classes) for model, classes in parts], 1
    ).argmax(1)


def _likelihoods(model: FlowModel, batch: LevelBatch, classes: Tensor) -> Tensor:
    """Likelihoods log p(x|k)/D (n, K) of the given classes.

    Means over patches, summed over levels.
    """
    total = 0.0
    for level, x in zip(model.levels, batch):
        if level.class_codes is None:
            z, log_det = through(level, x)
            logp = level.mixture.log_prob_each(z)[:, classes] + log_det[:, None]
        else:
            logp = torch.stack([_given_class(level, x, k[None]) for k in classes], 1)
        total = (
            total + logp.view(-1, len(level.codes), len(classes)).mean(1) / level.dim
        )
    return total


def _given_class(level: Level, x: Tensor, y: Tensor) -> Tensor:
    z, log_det = through(level, x, y)
    return level.mixture.log_prob(z, y) + log_det
