"""Gaussians of each class, fitted, packed into few bytes, and drawn from."""

__all__ = [
    "Gaussians",
    "SHRINKAGE",
    "TRUNCATION",
    "feature_gaussians",
    "latent_gaussians",
    "pool_gaussians",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.joining import joined
from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel, Level

SHRINKAGE = 1e-3
# Standard deviations beyond which no coordinate is drawn: far out, the flow was never
# trained.
TRUNCATION = 2.5
EM_STEPS = 20
# Patches of a class that EM is run on.
EM_PATCHES = 20_000


@dataclass(frozen=True)
class Gaussians:
    """Statistics of K classes of M components each, per level.

    They lie class after class (K·M rows).

    Args:
        levels: Statistics per level.
        n_components: Components per class M.
    """

    levels: list[GaussianStats]
    n_components: int = 1

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.levels[0]) // self.n_components

    def followed_by(self, other: "Gaussians") -> "Gaussians":
        """These classes and then those of another."""
        pairs = zip(self.levels, other.levels)
        levels = [joined(mine, theirs) for mine, theirs in pairs]
        return Gaussians(levels, self.n_components)

    # ---- drawing

    def sample(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw `n` latents or patches of each class and level (K, n, D).

        Components are drawn by their weight, no coordinate beyond 2.5σ.
        """
        return [self._sample_level(stats, n, generator) for stats in self.levels]

    def _sample_level(
        self,
        stats: GaussianStats,
        n: int,
        generator: torch.Generator,
    ) -> Tensor:
        k = self.n_classes
        m = self.n_components
        which = torch.multinomial(
            stats.n.cpu().view(k, m),
            n,
            replacement=True,
            generator=generator,
        )
        first = m * torch.arange(k)[:, None]
        rows = (first + which).to(stats.mean.device)
        draws = stats.mean[rows]
        noise = torch.empty(draws.shape)
        noise = noise.normal_(generator=generator)
        noise = noise.clamp_(-TRUNCATION, TRUNCATION)
        noise = noise.to(draws)
        covariance = stats.covariance(shrinkage=SHRINKAGE)
        roots = torch.linalg.cholesky(covariance)
        for row, root in enumerate(roots):
            chosen = rows == row
            draws[chosen] += noise[chosen] @ root.T
        return draws

    def bag(
        self,
        n: int,
        n_cells: Sequence[int],
        *,
        generator: torch.Generator,
    ) -> PatchPool:
        """`n` draws of each class and level, at cells drawn uniformly."""
        x = [draws.flatten(0, 1) for draws in self.sample(n, generator=generator)]
        cells = []
        for total, level in zip(n_cells, x):
            index = torch.randint(
                total,
                (len(level),),
                generator=generator,
            )
            cells.append(index.to(level.device))
        counts = torch.full((self.n_classes,), n)
        return PatchPool(x, cells, [counts] * len(x))

    # ---- keeping

    def tensors(self) -> dict[str, Tensor]:
        """As a strategy keeps them in `memory`.

        Counts, means, and one half of each scatter.
        """
        out = {}
        for i, stats in enumerate(self.levels):
            dim = stats.mean.shape[1]
            rows, columns = torch.tril_indices(dim, dim)
            out[f"n{i}"] = stats.n
            out[f"mean{i}"] = stats.mean
            out[f"scatter{i}"] = stats.scatter[:, rows, columns]
        return out

    @classmethod
    def stored(
        cls,
        memory: Mapping[str, Tensor],
        n_components: int,
        device: torch.device,
    ) -> "Gaussians":
        """The inverse of `tensors`."""
        levels = []
        while f"mean{len(levels)}" in memory:
            i = len(levels)
            n = memory[f"n{i}"].to(device)
            mean = memory[f"mean{i}"].to(device)
            half = memory[f"scatter{i}"].to(device)
            k, dim = mean.shape
            rows, columns = torch.tril_indices(dim, dim)
            scatter = mean.new_zeros(k, dim, dim)
            scatter[:, rows, columns] = half
            scatter[:, columns, rows] = half
            stats = GaussianStats(n, mean, scatter)
            levels.append(stats)
        return cls(levels, n_components)


# ---- fitting


def feature_gaussians(
    features: Features,
    categories: Sequence[str],
    *,
    n_components: int,
    device: torch.device,
    generator: torch.Generator,
) -> Gaussians:
    """Each category's patches pooled over positions.

    A Gaussian, or a small mixture by expectation–maximisation.
    """
    levels = []
    for i in range(len(features.levels)):
        parts = []
        for name in categories:
            images = features.where(category=name)
            stats = _whole(images, i, device)
            if n_components > 1:
                x = _em_patches(images, i, generator).to(device)
                stats = _mixture(x, stats, n_components, generator)
            parts.append(stats)
        levels.append(joined(*parts))
    return Gaussians(levels, n_components)


def _whole(images: Features, i: int, device: torch.device) -> GaussianStats:
    """Statistics of all patches of one level."""
    parts = []
    for batch in images.batches():
        x = batch[i].flatten(0, 1).float()
        stats = GaussianStats.of(x.to(device))
        parts.append(stats)
    return _merged(parts)


def _em_patches(images: Features, i: int, generator: torch.Generator) -> Tensor:
    """At most `EM_PATCHES` patches (N, D) of one level, at random."""
    h, w = images.grids[i]
    n_cells = h * w
    order = torch.randperm(len(images) * n_cells, generator=generator)
    chosen = order[:EM_PATCHES].numpy()
    rows = images.rows[chosen // n_cells]
    patches = images.levels[i][rows, chosen % n_cells]
    return torch.from_numpy(patches).float()


def _mixture(
    x: Tensor,
    whole: GaussianStats,
    m: int,
    generator: torch.Generator,
) -> GaussianStats:
    """M components of patches (N, D).

    Each also holds one patch's worth of the whole, so that none dies.
    """
    one = whole.decay(1.0 / whole.n)
    prior = joined(*[one] * m)
    chosen = torch.randperm(len(x), generator=generator)[:m]
    seeds = x[chosen.to(x.device)]
    nearest = torch.cdist(x, seeds).argmin(1)
    weights = torch.nn.functional.one_hot(nearest, m).to(x)
    for _ in range(EM_STEPS):
        stats = GaussianStats.of(x, weights).merge(prior)
        log_p = stats.log_prob(x, shrinkage=SHRINKAGE) + stats.n.log()
        weights = log_p.softmax(1)
    return stats


@torch.no_grad()
def latent_gaussians(
    model: FlowModel,
    images: Features,
    categories: Sequence[str],
) -> Gaussians:
    """Each category's latents under the model, of whole images, as one Gaussian."""
    levels = []
    for i, level in enumerate(model.levels):
        parts = []
        for name in categories:
            own = images.where(category=name)
            stats = _latent_stats(level, own, i)
            parts.append(stats)
        levels.append(joined(*parts))
    return Gaussians(levels)


def _latent_stats(level: Level, images: Features, i: int) -> GaussianStats:
    parts = []
    for batch in images.batches():
        x = batch[i].flatten(0, 1)
        z, _ = level(x.to(level.codes))
        stats = GaussianStats.of(z)
        parts.append(stats)
    return _merged(parts)


@torch.no_grad()
def pool_gaussians(model: FlowModel, pool: PatchPool) -> Gaussians:
    """The latents of each class's pooled patches under the model, as one Gaussian."""
    levels = []
    rows = zip(model.levels, pool.x, pool.cells, pool.counts)
    for level, x, cells, counts in rows:
        z, _ = level(x, cells)
        own = z.split(counts.tolist())
        parts = [GaussianStats.of(part) for part in own]
        levels.append(joined(*parts))
    return Gaussians(levels)


def _merged(parts: Sequence[GaussianStats]) -> GaussianStats:
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    return total
