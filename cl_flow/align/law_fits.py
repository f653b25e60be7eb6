"""Fits of class laws: of features, of latents, and of pooled patches."""

__all__ = [
    "POSITIONS",
    "LawOptions",
    "feature_laws",
    "fitted_law",
    "image_patches",
    "latent_laws",
    "pool_laws",
    "pool_moments",
    "tiles",
]

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from cl_flow.align.laws import SHRINKAGE, ClassLaws, Patches, PatchLaw
from cl_flow.align.statistics.algebra import eye_like, over_matrices
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.align.statistics.joining import joined
from cl_flow.calls import refuse_unknown
from cl_flow.data.features import Features
from cl_flow.data.patches import PatchPool
from cl_flow.model.flow import FlowModel, Level

POSITIONS = ("pooled", "weights", "means", "full")

EM_STEPS = 20
# Patches of a class that EM is run on.
EM_PATCHES = 20_000
# Patches of the whole class that stand behind the variance of each place, and behind
# its weights.
PRIOR = 4.0


@dataclass(frozen=True)
class LawOptions:
    """How a class's patches are described.

    Args:
        components: Gaussians M per class and level.
        position: What depends on where a patch lies: nothing (`"pooled"`), the weights
            of the components (`"weights"`), mean and deviation (`"means"`), or all of
            these (`"full"`).
        places: Places of a grid, at most; a larger grid is tiled, and the cells of a
            tile share its entries.

    Raises:
        ValueError: Fewer than one component or place.
        KeyError: An unknown position.
    """

    components: int = 1
    position: str = "pooled"
    places: int = 256

    def __post_init__(self) -> None:
        refuse_unknown("position", self.position, POSITIONS)
        if self.components < 1 or self.places < 1:
            raise ValueError(
                "Expected components and places of 1 or more; got "
                f"{self.components} and {self.places}."
            )

    def of_latents(self) -> "LawOptions":
        """Latents of a class are one Gaussian, or one about each place's mean."""
        return dataclasses.replace(self, components=1)


def feature_laws(
    features: Features,
    categories: Sequence[str],
    options: LawOptions,
    *,
    device: torch.device,
    generator: torch.Generator,
) -> ClassLaws:
    """The law of each category's patches as the backbone sees them."""

    def seen(i: int, x: Tensor) -> Tensor:
        return x.to(device)

    return _image_laws(seen, features, categories, options, generator)


@torch.no_grad()
def latent_laws(
    model: FlowModel,
    images: Features,
    categories: Sequence[str],
    options: LawOptions,
    *,
    generator: torch.Generator,
) -> ClassLaws:
    """The law of each category's latents under the model."""

    def seen(i: int, x: Tensor) -> Tensor:
        level = model.levels[i]
        z, _ = level(x.to(level.codes))
        return z

    return _image_laws(seen, images, categories, options, generator)


def _image_laws(
    seen: Callable[[int, Tensor], Tensor],
    images: Features,
    categories: Sequence[str],
    options: LawOptions,
    generator: torch.Generator,
) -> ClassLaws:
    classes = []
    for name in categories:
        own = images.where(category=name)
        laws = []
        for i, grid in enumerate(own.grids):
            patches = image_patches(own, i, seen)
            places = tiles(grid, options.places)
            n = len(own) * len(places)
            law = fitted_law(patches, n, places, options, generator=generator)
            laws.append(law)
        classes.append(laws)
    return ClassLaws(classes)


def image_patches(
    images: Features, i: int, seen: Callable[[int, Tensor], Tensor]
) -> Iterator[Patches]:
    """Patches (N, D) of one level and their cells (N,), some images at a time.

    Args:
        images: The images.
        i: The level.
        seen: Level and patches as stored to patches as they are wanted.
    """
    for batch in images.batches():
        x = batch[i]
        z = seen(i, x.flatten(0, 1).float())
        yield z, torch.arange(x.shape[1], device=z.device).repeat(len(x))


@torch.no_grad()
def pool_laws(
    model: FlowModel,
    pool: PatchPool,
    options: LawOptions,
    *,
    generator: torch.Generator,
) -> ClassLaws:
    """The law of each class's latents, of pooled patches under the model."""
    levels = []
    for level, patches in _pool_latents(model, pool):
        places = tiles(level.grid, options.places)
        laws = [
            fitted_law([own], len(own[0]), places, options, generator=generator)
            for own in patches
        ]
        levels.append(laws)
    return ClassLaws([list(laws) for laws in zip(*levels)])


@torch.no_grad()
def pool_moments(model: FlowModel, pool: PatchPool) -> list[GaussianStats]:
    """Per level the moments of each class's latents (K), of pooled patches."""
    return [
        joined(*[GaussianStats.of(z) for z, _ in patches])
        for _, patches in _pool_latents(model, pool)
    ]


def _pool_latents(
    model: FlowModel, pool: PatchPool
) -> Iterator[tuple[Level, list[Patches]]]:
    """Per level each class's latents and cells."""
    for level, x, cells, counts in zip(model.levels, pool.x, pool.cells, pool.counts):
        z, _ = level(x, cells)
        sizes = counts.tolist()
        yield level, list(zip(z.split(sizes), cells.split(sizes)))


# ---- one class at one level


def tiles(grid: tuple[int, ...], places: int) -> Tensor:
    """The place (S,) of each cell of a grid, of so many at most.

    Square tiles, as small as `places` allows; at one cell a tile, every cell is a place
    of its own.

    Example:
        >>> tiles((4, 4), 4).view(4, 4).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    """
    height, width = grid
    side = 1
    while -(-height // side) * -(-width // side) > places:
        side += 1
    row = torch.arange(height) // side
    column = torch.arange(width) // side
    n_columns = -(-width // side)
    return (row[:, None] * n_columns + column).flatten()


def fitted_law(
    patches: Iterable[Patches],
    n: int,
    places: Tensor,
    options: LawOptions,
    *,
    generator: torch.Generator,
) -> PatchLaw:
    """The law of one class's patches.

    Mean and variance of each place are those of all patches; the components are fitted
    to at most `EM_PATCHES` residuals, by expectation–maximisation.

    Args:
        patches: Patches (N, D) and their cells (N,), in parts.
        n: Patches in all.
        places: Place of each grid cell (S,), on the CPU.
        options: What to fit.
        generator: Chooses the residuals and where EM begins, on the CPU.

    Raises:
        ValueError: No patches.
    """
    if n < 1:
        raise ValueError("Expected patches to fit a law to; got none.")
    nowhere = torch.zeros_like(places)
    by_mean = places if options.position in ("means", "full") else nowhere
    by_weight = places if options.position in ("weights", "full") else nowhere
    chosen = torch.randperm(n, generator=generator)[:EM_PATCHES].sort().values
    mean, scale, x, cells = _gathered(patches, by_mean, chosen)
    by_mean = by_mean.to(x.device)
    residuals = (x - mean[by_mean[cells]]) / scale[by_mean[cells]]
    place = by_weight.to(x.device)[cells]
    n_places = int(by_weight.max()) + 1
    parts, weights = _components(
        residuals, place, n_places, options.components, generator
    )
    return PatchLaw(places.to(x.device), mean, scale, weights, parts)


def _gathered(
    patches: Iterable[Patches], places: Tensor, chosen: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and deviation (P, D) of each place; the chosen patches and their cells.

    One pass, in double precision. Each place's variance counts the whole class's as
    `PRIOR` more patches.
    """
    n_places = int(places.max()) + 1
    parts = iter(patches)
    first, at = next(parts)
    n = first.new_zeros(n_places, dtype=torch.float64)
    sums = first.new_zeros(n_places, first.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(sums)
    some = []
    begin = 0
    for x, cells in chain([(first, at)], parts):
        place = places.to(x.device)[cells]
        n += place.bincount(minlength=n_places)
        sums.index_add_(0, place, x.double())
        squares.index_add_(0, place, x.double().square())
        own = chosen[(chosen >= begin) & (chosen < begin + len(x))] - begin
        own = own.to(x.device)
        some.append((x[own], cells[own]))
        begin += len(x)
    mean, scale = _deviations(n, sums, squares)
    x, cells = (torch.cat(parts) for parts in zip(*some))
    return mean.to(x), scale.to(x), x, cells


def _deviations(n: Tensor, sums: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (P, D) of each place; of an empty one those of the class."""
    total = n.sum()
    whole = sums.sum(0) / total
    around = squares.sum(0) / total - whole.square()
    seen = n > 0
    mean = (sums / n.clamp(min=1)[:, None]).where(seen[:, None], whole)
    within = (squares - n[:, None] * mean.square()).clamp(min=0)
    freedom = total - seen.sum()  # none is left where every place has one patch
    pooled = within.sum(0) / freedom if freedom > 0 else around
    variance = (within + PRIOR * pooled) / (n[:, None] + PRIOR)
    floor = SHRINKAGE * around.mean() + torch.finfo(torch.float32).tiny
    return mean, variance.clamp(min=floor).sqrt()


def _components(
    x: Tensor, place: Tensor, n_places: int, m: int, generator: torch.Generator
) -> tuple[GaussianStats, Tensor]:
    """M components of residuals (N, D), and their weights at each place (P, M).

    Each also holds one patch's worth of the whole, so that none dies.
    """
    whole = _floored(GaussianStats.of(x))
    if m == 1:
        return whole, x.new_ones(1, 1)
    prior = joined(*[whole.decay(1.0 / whole.n)] * m)
    chosen = torch.randperm(len(x), generator=generator)[:m]
    nearest = torch.cdist(x, x[chosen.to(x.device)]).argmin(1)
    shares = torch.nn.functional.one_hot(nearest, m).to(x)
    for _ in range(EM_STEPS):
        stats = GaussianStats.of(x, shares).merge(prior)
        weights = _weights(stats.n, shares, place, n_places)
        log_p = stats.log_prob(x, shrinkage=SHRINKAGE) + weights.log()[place]
        shares = log_p.softmax(1)
    return stats, weights


def _floored(stats: GaussianStats) -> GaussianStats:
    """With some variance in every direction; residuals have about one."""
    floor = SHRINKAGE * over_matrices(stats.n) * eye_like(stats.mean)
    return GaussianStats(stats.n, stats.mean, stats.scatter + floor)


def _weights(n: Tensor, shares: Tensor, place: Tensor, n_places: int) -> Tensor:
    """Weights (P, M) at each place, those of the class counting as `PRIOR` patches."""
    counts = shares.new_zeros(n_places, len(n)).index_add_(0, place, shares)
    overall = n / n.sum()
    return (counts + PRIOR * overall) / (counts.sum(1, keepdim=True) + PRIOR)
