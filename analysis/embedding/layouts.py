"""UMAP layouts of several steps that can be compared."""

__all__ = ["METHODS", "Slice", "turned"]

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import orthogonal_procrustes

from cl_flow.registry import Registry

METHODS: Registry = Registry("embedding method")


class Slice(NamedTuple):
    """Vectors of one step: patches (N, D) and centers (K, D).

    And the centers' categories; features have none.
    """

    patches: np.ndarray
    centers: np.ndarray
    names: tuple[str, ...]

    @property
    def points(self) -> np.ndarray:
        """Patches, then centers (N + K, D)."""
        return np.concatenate([self.patches, self.centers])


@METHODS
def aligned(
    slices: Sequence[Slice], *, random_state: int, **options: Any
) -> list[np.ndarray]:
    """AlignedUMAP: one picture per step, optimised together.

    So that a patch stays near its neighbours in time.

    References:
        Visualizing the evolution of high-dimensional data with aligned UMAP (Dadu et
        al., 2023)
        https://doi.org/10.1016/j.patter.2023.100741
    """
    if len(slices) == 1:
        return joint(slices, random_state=random_state, **options)
    relations = [
        _relation(earlier, later) for earlier, later in zip(slices, slices[1:])
    ]
    mapper = _umap().AlignedUMAP(
        random_state=random_state, transform_seed=random_state, **options
    )
    with warnings.catch_warnings():
        # It offers no way to ask for one job.
        warnings.filterwarnings("ignore", "n_jobs value", UserWarning)
        mapper.fit([s.points for s in slices], relations=relations)
    return list(mapper.embeddings_)


@METHODS
def joint(slices: Sequence[Slice], **options: Any) -> list[np.ndarray]:
    """One UMAP of all steps together.

    a patch that did not move is drawn twice in one place.
    """
    points = np.concatenate([s.points for s in slices])
    xy = _umap().UMAP(n_jobs=1, unique=True, **options).fit_transform(points)
    return np.split(xy, np.cumsum([len(s.points) for s in slices])[:-1])


@METHODS
def fixed(slices: Sequence[Slice], **options: Any) -> list[np.ndarray]:
    """UMAP fitted on the first step.

    Later steps are placed into that picture, whatever they have become.
    """
    mapper = _umap().UMAP(n_jobs=1, **options).fit(slices[0].points)
    return [mapper.embedding_, *(mapper.transform(s.points) for s in slices[1:])]


@METHODS
def independent(
    slices: Sequence[Slice], *, random_state: int, **options: Any
) -> list[np.ndarray]:
    """UMAP for each step by itself, turned onto the one before.

    With a seed of its own; here to show what it fakes.
    """
    pictures: list[np.ndarray] = []
    for step, s in enumerate(slices):
        xy = (
            _umap()
            .UMAP(n_jobs=1, random_state=random_state + step, **options)
            .fit_transform(s.points)
        )
        pictures.append(turned(pictures[-1], xy, len(s.patches)) if pictures else xy)
    return pictures


def _umap() -> Any:
    """The library, imported when first needed: it takes seconds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        import umap
    return umap


def _relation(earlier: Slice, later: Slice) -> dict[int, int]:
    """Which points of two steps are the same.

    Every patch, and the centers that both have.
    """
    n = len(earlier.patches)
    centers = {
        n + i: n + later.names.index(name)
        for i, name in enumerate(earlier.names)
        if name in later.names
    }
    return {**{i: i for i in range(n)}, **centers}


def turned(onto: np.ndarray, points: np.ndarray, n: int) -> np.ndarray:
    """Points turned onto others by a rigid motion.

    By the rotation, reflection and shift that bring the first n nearest to the first n
    of `onto`.
    """
    here = points[:n].mean(0)
    there = onto[:n].mean(0)
    rotation, _ = orthogonal_procrustes(points[:n] - here, onto[:n] - there)
    return (points - here) @ rotation + there
