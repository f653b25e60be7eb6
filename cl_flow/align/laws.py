"""Gaussians of each class, fitted, packed into few bytes, and drawn from."""

__all__ = [
    "Gaussians",
    "SHRINKAGE",
    "TRUNCATION",
    "feature_gaussians",
    "joined",
    "latent_gaussians",
    "pushed",
]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align import GaussianStats
from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel

SHRINKAGE = 1e-3
# Standard deviations beyond which no coordinate is drawn: far out, the flow was never
# trained.
TRUNCATION = 2.5
EM_STEPS = 20
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
        return Gaussians(
            [joined(pair) for pair in zip(self.levels, other.levels)], self.n_components
        )

    def sample(self, n: int, *, generator: torch.Generator) -> list[Tensor]:
        """Draw `n` latents or patches of each class and level (K, n, D).

        Components are drawn by their weight, no coordinate beyond 2.5σ.
        """
        return [self._sample_level(stats, n, generator) for stats in self.levels]

    def _sample_level(
        self, stats: GaussianStats, n: int, generator: torch.Generator
    ) -> Tensor:
        k = self.n_classes
        m = self.n_components
        dim = stats.mean.shape[1]
        which = torch.multinomial(
            stats.n.cpu().view(k, m), n, replacement=True, generator=generator
        )
        rows = (which + m * torch.arange(k)[:, None]).to(stats.mean.device)
        noise = (
            torch.empty(k, n, dim)
            .normal_(generator=generator)
            .clamp_(-TRUNCATION, TRUNCATION)
        )
        root = torch.linalg.cholesky(stats.covariance(shrinkage=SHRINKAGE))
        out = stats.mean[rows]
        noise = noise.to(out)
        for row in range(k * m):
            chosen = rows == row
            out[chosen] += noise[chosen] @ root[row].T
        return out

    def bag(
        self, n: int, n_cells: Sequence[int], *, generator: torch.Generator
    ) -> PatchPool:
        """`n` draws of each class and level, at cells drawn uniformly."""
        x = [draws.flatten(0, 1) for draws in self.sample(n, generator=generator)]
        cells = [
            torch.randint(total, (len(level),), generator=generator).to(level.device)
            for total, level in zip(n_cells, x)
        ]
        return PatchPool(x, cells, [torch.full((self.n_classes,), n)] * len(x))

    def tensors(self) -> dict[str, Tensor]:
        """As a strategy keeps them in `memory`.

        Counts, means, and one half of each scatter.
        """
        out = {}
        for i, stats in enumerate(self.levels):
            rows, columns = torch.tril_indices(*stats.scatter.shape[1:])
            out |= {
                f"n{i}": stats.n,
                f"mean{i}": stats.mean,
                f"scatter{i}": stats.scatter[:, rows, columns],
            }
        return out

    @classmethod
    def stored(
        cls, memory: Mapping[str, Tensor], n_components: int, device: torch.device
    ) -> "Gaussians":
        """The inverse of `tensors`."""
        levels = []
        while f"mean{len(levels)}" in memory:
            n, mean, half = (
                memory[f"{name}{len(levels)}"].to(device)
                for name in ("n", "mean", "scatter")
            )
            rows, columns = torch.tril_indices(mean.shape[1], mean.shape[1])
            scatter = mean.new_zeros(*mean.shape, mean.shape[1])
            scatter[:, rows, columns] = half
            scatter[:, columns, rows] = half
            levels.append(GaussianStats(n, mean, scatter))
        return cls(levels, n_components)


def feature_gaussians(
    features: Features,
    categories: Sequence[str],
    *,
    n_components: int,
    device: torch.device,
    generator: torch.Generator,
) -> Gaussians:
    """Each category's patches pooled over positions.

    a Gaussian, or a small mixture by expectation–maximisation.
    """
    levels = []
    for i, (level, (h, w)) in enumerate(zip(features.levels, features.grids)):
        parts = []
        for name in categories:
            images = features.where(category=name)
            whole = _merged(
                GaussianStats.of(x[i].flatten(0, 1).float().to(device))
                for x in images.batches()
            )
            if n_components == 1:
                parts.append(whole)
                continue
            chosen = torch.randperm(len(images) * h * w, generator=generator)[
                :EM_PATCHES
            ].numpy()
            x = (
                torch.from_numpy(
                    level[images.rows[chosen // (h * w)], chosen % (h * w)]
                )
                .float()
                .to(device)
            )
            parts.append(_mixture(x, whole, n_components, generator))
        levels.append(joined(parts))
    return Gaussians(levels, n_components)


@torch.no_grad()
def latent_gaussians(
    model: FlowModel, images: Features, categories: Sequence[str]
) -> Gaussians:
    """Each category's latents under the model, of whole images, as one Gaussian."""
    per_class = [
        list(_latent_stats(model, images.where(category=name))) for name in categories
    ]
    return Gaussians([joined(parts) for parts in zip(*per_class)])


@torch.no_grad()
def pushed(model: FlowModel, bag: PatchPool) -> Gaussians:
    """The latents of each class's patches under the model, as one Gaussian."""
    levels = []
    for level, x, cells, counts in zip(model.levels, bag.x, bag.cells, bag.counts):
        z, _ = level(x, cells)
        levels.append(
            joined([GaussianStats.of(part) for part in z.split(counts.tolist())])
        )
    return Gaussians(levels)


def _latent_stats(model: FlowModel, images: Features) -> Iterator[GaussianStats]:
    for i, level in enumerate(model.levels):
        yield _merged(
            GaussianStats.of(level(x[i].flatten(0, 1).to(level.codes))[0])
            for x in images.batches()
        )


def _mixture(
    x: Tensor, whole: GaussianStats, m: int, generator: torch.Generator
) -> GaussianStats:
    """M components of patches (N, D).

    Each also holds one patch's worth of the whole, so that none dies.
    """
    prior = joined([whole.decay(1.0 / whole.n)] * m)
    seeds = x[torch.randperm(len(x), generator=generator)[:m].to(x.device)]
    weights = torch.nn.functional.one_hot(torch.cdist(x, seeds).argmin(1), m).to(x)
    for _ in range(EM_STEPS):
        stats = GaussianStats.of(x, weights).merge(prior)
        weights = (stats.log_prob(x, shrinkage=SHRINKAGE) + stats.n.log()).softmax(1)
    return stats


def _merged(parts: Iterable[GaussianStats]) -> GaussianStats:
    parts = iter(parts)
    total = next(parts)
    for part in parts:
        total = total.merge(part)
    return total


def joined(parts: Sequence[GaussianStats]) -> GaussianStats:
    """The components of all parts, one after the other."""
    return GaussianStats(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("n", "mean", "scatter")
        )
    )
