"""Normality of patches: likelihood, and certainty of their class.

A patch is normal by two factors, higher is more normal. The first is its log-likelihood
under the class y of its image, log p(x|y)/D. The second is how certain its class is
among all of them, the negative entropy Σ_k p_k log p_k of the class posterior.

An image's class is given, or is the likeliest. Where the flow differs from task to
task, each image is seen by the view of its class (`cl_flow.model.class_views`).
"""

__all__ = ["Certainty", "normality_of"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.data.features import Features
from cl_flow.model.class_views import views
from cl_flow.model.flow import FlowModel, Level
from cl_flow.model.mixture import Mixture
from cl_flow.scoring.latents import Patches, through

# Images at a time on a CPU, and patches of a level at a time on a GPU.
BATCH = 32
GPU_PATCHES = 2**18

# Models, each with the ids of the classes it is for.
Views = Sequence[tuple[FlowModel, Tensor]]


@dataclass(frozen=True)
class Certainty:
    """Certainty of a class among others.

    Args:
        groups: Ids of the classes that are compared. One group is every image's; of
            several, an image's is that of its class. None stands for all classes.
        per_log_k: Whether the entropy is divided by ln k, its largest value among the k
            classes of a group.
    """

    groups: Sequence[Tensor | None] = (None,)
    per_log_k: bool = False

    @classmethod
    def among(
        cls,
        model: FlowModel,
        known: Sequence[str] | str | None,
        *,
        per_log_k: bool,
    ) -> "Certainty":
        """Certainty among known categories, all of a model, or those of one task.

        Args:
            model: The model.
            known: Categories; None for all; or `"task"`, for those that arrived with
                the class that an image is scored under.
            per_log_k: Whether the entropy is divided by ln k.

        Raises:
            ValueError: Another word.
        """
        if isinstance(known, str) and known != "task":
            raise ValueError(f"Expected categories, None or 'task'; got {known!r}.")
        if known == "task":
            groups = [model.class_ids(names) for names in model.arrivals]
        elif known is None:
            groups = [None]
        else:
            groups = [model.class_ids(known)]
        return cls(groups, per_log_k)

    def of(self, mixture: Mixture, z: Tensor, y: Tensor) -> Tensor:
        """Σ_k p_k log p_k (N,) of latents (N, D): 0 is certain.

        Args:
            mixture: The mixture.
            z: Latents (N, D).
            y: Class that each image is scored under (B,), N a multiple of B.
        """
        if len(self.groups) == 1:
            return self._within(mixture, z, self.groups[0])
        by_image = z.view(len(y), -1, z.shape[-1])
        out = z.new_empty(by_image.shape[:2])
        for classes in self.groups:
            mine = torch.isin(y, classes)
            if mine.any():
                own = by_image[mine].flatten(0, 1)
                values = self._within(mixture, own, classes)
                out[mine] = values.view(-1, by_image.shape[1])
        return out.flatten()

    def _within(self, mixture: Mixture, z: Tensor, classes: Tensor | None) -> Tensor:
        negentropy = mixture.negentropy(z, classes=classes)
        k = mixture.n_classes if classes is None else len(classes)
        # A single class has no entropy to divide.
        return negentropy / math.log(k) if self.per_log_k and k > 1 else negentropy


def normality_of(
    model: FlowModel,
    features: Features,
    certainty: Certainty,
    *,
    given: str | None,
) -> tuple[list[Tensor], Tensor]:
    """Both factors of every patch, and the class of every image.

    Args:
        model: The model.
        features: Images, or their latents under the model's flow.
        certainty: The second factor.
        given: `"category"` takes the classes from there; None finds the likeliest.

    Returns:
        Per level the factors (n, 2, S), and the class ids (n,) on the CPU.
    """
    parts = views(model)
    size = _images_at_a_time(model)
    given_ids: Sequence[Tensor] = ()
    if given is not None:
        names = list(features.samples["category"])
        given_ids = model.class_ids(names).split(size)
    factors = []
    classes = []
    for i, batch in enumerate(features.batches(size)):
        if given is None:
            y = _likeliest(parts, batch)
        else:
            y = given_ids[i]
        values = _by_views(parts, batch, y, certainty)
        factors.append(values)
        classes.append(y)
    levels = [torch.cat(level) for level in zip(*factors)]
    return levels, torch.cat(classes).cpu()


def _images_at_a_time(model: FlowModel) -> int:
    """A GPU takes as many as fill it, a CPU what its caches hold."""
    codes = [level.codes for level in model.levels]
    if codes[0].device.type == "cpu":
        return BATCH
    return max(BATCH, GPU_PATCHES // max(map(len, codes)))


# ---- the factors of a batch: per level (n, 2, S)


def _by_views(
    parts: Views,
    batch: list[Patches],
    y: Tensor,
    certainty: Certainty,
) -> list[Tensor]:
    """Factors of every image under the view of its class."""
    first, _ = parts[0]
    if len(parts) == 1:
        return _by_model(first, batch, y, certainty)
    out = []
    for level in first.levels:
        empty = torch.empty(len(y), 2, len(level.codes), device=y.device)
        out.append(empty)
    for model, classes in parts:
        mine = torch.isin(y, classes)
        if not mine.any():
            continue
        own = [_chosen(x, mine.cpu()) for x in batch]
        values = _by_model(model, own, y[mine], certainty)
        for level, part in zip(out, values):
            level[mine] = part
    return out


def _by_model(
    model: FlowModel,
    batch: list[Patches],
    y: Tensor,
    certainty: Certainty,
) -> list[Tensor]:
    """Factors of every image under one model."""
    out = []
    for level, x in zip(model.levels, batch):
        z, log_det = through(level, x, y)
        log_prob = level.mixture.log_prob(z, y) + log_det
        likelihood = log_prob / level.dim
        sure = certainty.of(level.mixture, z, y)
        both = [values.view(len(y), -1) for values in (likelihood, sure)]
        out.append(torch.stack(both, dim=1))
    return out


def _chosen(x: Patches, images: Tensor) -> Patches:
    if isinstance(x, tuple):
        z, log_det = x
        return z[images], log_det[images]
    return x[images]


# ---- the class of an image


def _likeliest(parts: Views, batch: list[Patches]) -> Tensor:
    """The class of highest mean log-likelihood per image (n,)."""
    columns = [_likelihoods(model, batch, classes) for model, classes in parts]
    return torch.cat(columns, dim=1).argmax(1)


def _likelihoods(model: FlowModel, batch: list[Patches], classes: Tensor) -> Tensor:
    """Likelihoods log p(x|k)/D (n, K) of the given classes.

    Means over patches, summed over levels.
    """
    total = 0.0
    for level, x in zip(model.levels, batch):
        log_prob = _log_prob_each(level, x, classes)
        by_image = log_prob.view(-1, len(level.codes), len(classes))
        total = total + by_image.mean(1) / level.dim
    return total


def _log_prob_each(level: Level, x: Patches, classes: Tensor) -> Tensor:
    """log p(x|k) (N, K) of the given classes.

    The flow is run for each of them where it depends on the class.
    """
    if level.class_codes is None:
        z, log_det = through(level, x)
        log_prob = level.mixture.log_prob_each(z)[:, classes]
        return log_prob + log_det[:, None]
    columns = []
    for k in classes:
        y = k[None]
        z, log_det = through(level, x, y)
        log_prob = level.mixture.log_prob(z, y) + log_det
        columns.append(log_prob)
    return torch.stack(columns, dim=1)
