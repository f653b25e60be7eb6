"""Laws of a class's patches: what a patch looks like depends on where it lies.

Drawn from, and packed into few bytes.
"""

__all__ = ["SHRINKAGE", "TRUNCATION", "ClassLaws", "Patches", "PatchLaw"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.data.patches import PatchPool

SHRINKAGE = 1e-3
# Standard deviations beyond which no coordinate is drawn: far out, the flow was never
# trained.
TRUNCATION = 2.5
# Patches (N, D) and their grid cells (N,).
Patches = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PatchLaw:
    r"""Joint law of one class's patches and the grid cells they lie at, at one level.

    Every cell is equally likely, as on a grid. At a cell whose place is c,
    $x = m_c + s_c \odot r$ with $r \sim \sum_j \pi_{cj} \mathcal N(\mu_j, \Sigma_j)$.
    What does not depend on the place has one entry.

    Args:
        places: Place of each grid cell (S,).
        mean: Mean of each place (P, D) or (1, D).
        scale: Standard deviation of each place (P, D) or (1, D).
        weights: Weights of the components at each place (P, M) or (1, M).
        parts: Their statistics, in the residuals r.
    """

    places: Tensor
    mean: Tensor
    scale: Tensor
    weights: Tensor
    parts: GaussianStats

    @classmethod
    def of_gaussian(cls, stats: GaussianStats, n_cells: int = 1) -> "PatchLaw":
        """The law of plain Gaussians, wherever a patch lies."""
        mean = torch.zeros_like(stats.mean[:1])
        places = torch.zeros(n_cells, dtype=torch.long, device=mean.device)
        weights = (stats.n / stats.n.sum())[None]
        return cls(places, mean, torch.ones_like(mean), weights, stats)

    @property
    def n_cells(self) -> int:
        """Cells of the grid S."""
        return len(self.places)

    def sample(self, n: int, *, generator: torch.Generator) -> Patches:
        """Draw `n` patches (n, D) and their cells (n,).

        No coordinate of a component is drawn beyond 2.5σ. The generator lives on the
        CPU, so devices draw the same.
        """
        device = self.mean.device
        cells = torch.randint(self.n_cells, (n,), generator=generator)
        place = self.places.cpu()[cells]
        weights = _at(self.weights.cpu(), place).expand(n, -1)
        which = torch.multinomial(weights, 1, generator=generator)[:, 0].to(device)
        noise = torch.empty(n, self.mean.shape[1]).normal_(generator=generator)
        noise = noise.clamp_(-TRUNCATION, TRUNCATION).to(self.mean)
        draws = self.parts.mean[which]
        roots = torch.linalg.cholesky(self.parts.covariance(shrinkage=SHRINKAGE))
        for row, root in enumerate(roots):
            chosen = which == row
            draws[chosen] += noise[chosen] @ root.T
        place = place.to(device)
        patches = _at(self.mean, place) + _at(self.scale, place) * draws
        return patches, cells.to(device)

    def log_prob(self, x: Tensor, cells: Tensor) -> Tensor:
        """Log-density log p(x | cell) (N,) of patches (N, D) at cells (N,)."""
        place = self.places[cells]
        scale = _at(self.scale, place)
        residuals = (x - _at(self.mean, place)) / scale
        each = self.parts.log_prob(residuals, shrinkage=SHRINKAGE)
        log_p = (each + _at(self.weights, place).log()).logsumexp(1)
        return log_p - scale.log().sum(1)

    # ---- keeping

    def tensors(self) -> dict[str, Tensor]:
        """As it is kept: single precision for counts, half for the rest.

        Residuals have unit deviation, so half precision holds their covariances; of
        these one half is kept.
        """
        rows, columns = torch.tril_indices(*self.parts.scatter.shape[1:])
        covariance = self.parts.covariance()[:, rows, columns]
        return {
            "places": self.places.to(torch.int16),
            "mean": self.mean.half(),
            "scale": self.scale.half(),
            "weights": self.weights.half(),
            "n": self.parts.n.float(),
            "center": self.parts.mean.half(),
            "covariance": covariance.half(),
        }

    @classmethod
    def stored(cls, kept: Mapping[str, Tensor], device: torch.device) -> "PatchLaw":
        """The inverse of `tensors`, in single precision."""
        at = {name: values.to(device).float() for name, values in kept.items()}
        center = at["center"]
        rows, columns = torch.tril_indices(center.shape[1], center.shape[1])
        scatter = center.new_zeros(*center.shape, center.shape[1])
        half = at["covariance"] * at["n"][:, None]
        scatter[:, rows, columns] = half
        scatter[:, columns, rows] = half
        weights = at["weights"] / at["weights"].sum(1, keepdim=True)
        parts = GaussianStats(at["n"], center, scatter)
        return cls(at["places"].long(), at["mean"], at["scale"], weights, parts)

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        return sum(values.nbytes for values in self.tensors().values())


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Entries of places (N,), or the only one there is."""
    return values if len(values) == 1 else values[place]


@dataclass(frozen=True)
class ClassLaws:
    """Laws of K classes, per class and level.

    Args:
        classes: Per class its law at each level.
    """

    classes: list[list[PatchLaw]]

    def __len__(self) -> int:
        return len(self.classes)

    def level(self, i: int) -> dict[int, PatchLaw]:
        """Class id -> its law at level i."""
        return {k: laws[i] for k, laws in enumerate(self.classes)}

    def followed_by(self, other: "ClassLaws") -> "ClassLaws":
        """These classes and then those of another."""
        return ClassLaws([*self.classes, *other.classes])

    def pool(self, n: int, *, generator: torch.Generator) -> PatchPool:
        """`n` draws of each class and level, each at the cell it was drawn for."""
        x, cells, counts = [], [], []
        for laws in zip(*self.classes):
            draws = [law.sample(n, generator=generator) for law in laws]
            x.append(torch.cat([patches for patches, _ in draws]))
            cells.append(torch.cat([index for _, index in draws]))
            counts.append(torch.full((len(self),), n))
        return PatchPool(x, cells, counts)

    def tensors(self) -> dict[str, Tensor]:
        """As a strategy keeps them in `memory`: `law.<class>.<level>.<name>`."""
        return {
            f"law.{k}.{i}.{name}": values
            for k, laws in enumerate(self.classes)
            for i, law in enumerate(laws)
            for name, values in law.tensors().items()
        }

    @classmethod
    def stored(
        cls, memory: Mapping[str, Tensor], device: torch.device
    ) -> "ClassLaws | None":
        """The inverse of `tensors`; None where no law is kept.

        Raises:
            ValueError: What is kept was written by an earlier version.
        """
        if "scatter0" in memory:
            raise ValueError(
                "Expected class laws as this version keeps them; got those of an "
                "earlier one. Remove the unfinished run and train it anew."
            )
        kept: dict[int, dict[int, dict[str, Tensor]]] = {}
        for key, values in memory.items():
            if key.startswith("law."):
                _, k, i, name = key.split(".")
                kept.setdefault(int(k), {}).setdefault(int(i), {})[name] = values
        classes = [
            [PatchLaw.stored(kept[k][i], device) for i in sorted(kept[k])]
            for k in sorted(kept)
        ]
        return cls(classes) if classes else None

    @property
    def nbytes(self) -> int:
        """Bytes that keeping them takes."""
        return sum(law.nbytes for laws in self.classes for law in laws)
