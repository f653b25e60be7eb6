"""Features of samples under a frozen backbone.

They are kept on disk as float16 memory maps, one file per level.
"""

__all__ = ["Features", "union"]

import dataclasses
import html
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cl_flow.calls import checked
from cl_flow.data.store import open_levels, open_whole, store_levels
from cl_flow.data.whitening import principal_directions, project
from cl_flow.identity import digest_of

log = logging.getLogger(__name__)

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Features:
    """Samples and, per level, their patch features.

    Args:
        samples: One row per image (see `cl_flow.data.datasets`).
        levels: Per level an array (images on file, H·W, D), usually a memory map.
        grids: Per level (H, W).
        rows: Row on file of each sample.
        folder: Where the arrays lie; None for arrays in memory.

    Example:
        >>> table = {"category": ["cable", "tile"], "split": ["train", "test"]}
        >>> x = np.zeros((2, 16, 8), dtype=np.float16)
        >>> features = Features(pd.DataFrame(table), (x,), ((4, 4),), np.arange(2))
        >>> features.where(category="tile")
        Features(1 images of 1 categories; levels 4×4×8)
    """

    samples: pd.DataFrame
    levels: tuple[np.ndarray, ...]
    grids: tuple[tuple[int, int], ...]
    rows: np.ndarray
    folder: Path | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels D of each level."""
        return tuple(level.shape[-1] for level in self.levels)

    @property
    def categories(self) -> list[str]:
        """Categories present, in order of first appearance."""
        return list(dict.fromkeys(self.samples["category"]))

    def __len__(self) -> int:
        return len(self.samples)

    def where(self, **values: object) -> "Features":
        """Select the images whose columns hold the given values.

        As in `features.where(split="train", category="bottle")`.

        A list, tuple or set selects every value in it.

        Raises:
            KeyError: No such column, or no such split.
        """
        keep = np.ones(len(self), dtype=bool)
        for column, value in values.items():
            if column not in self.samples:
                known = ", ".join(self.samples.columns)
                raise KeyError(f"Expected a column of {known}; got {column!r}.")
            wanted = value if isinstance(value, (list, tuple, set)) else [value]
            if column == "split" and not set(wanted) <= set(SPLITS):
                raise KeyError(f"Expected a split train or test; got {value!r}.")
            keep &= self.samples[column].isin(wanted).to_numpy()
        return self.take(np.flatnonzero(keep))

    def take(self, indices: ArrayLike) -> "Features":
        """Images at the given positions."""
        positions = np.asarray(indices, dtype=int)
        samples = self.samples.iloc[positions].reset_index(drop=True)
        return dataclasses.replace(self, samples=samples, rows=self.rows[positions])

    def read(self, indices: ArrayLike | slice = slice(None)) -> list[Tensor]:
        """Read features (images, H·W, D) at the given positions, per level.

        In the stored precision.
        """
        at = indices if isinstance(indices, slice) else np.asarray(indices)
        rows = self.rows[at]
        return [torch.from_numpy(np.asarray(level[rows])) for level in self.levels]

    def batches(self, size: int = 32) -> Iterator[list[Tensor]]:
        """`read` in consecutive batches of `size` images."""
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))

    def whitened(
        self, dim: int, *, fit_on: Sequence[str], shrinkage: float = 1e-3
    ) -> "Features":
        """Project each level onto its leading principal directions.

        `dim` of them, at unit variance, kept on disk beside the original.

        Args:
            dim: Channels to keep; levels with fewer keep what they have.
            fit_on: Categories whose normal training images decide the directions: those
                of the first task.
            shrinkage: Added to the variances, as a share of the largest.
        """
        facts = {
            "whitened": dim,
            "fit_on": sorted(fit_on),
            "shrinkage": shrinkage,
            "of": str(self.folder and self.folder.name),
        }
        folder = (
            None
            if self.folder is None
            else self.folder.with_name(
                f"{self.folder.name}-w{dim}-{digest_of(facts, 6)}"
            )
        )
        known = None if folder is None else open_whole(folder, len(self.levels))
        if known is None:
            training = self.where(split="train", label=0, category=list(fit_on))
            if not len(training):
                raise ValueError(
                    f"Expected normal training images of {sorted(fit_on)} to whiten "
                    "with; got none."
                )
            maps = [
                principal_directions(level[training.rows], dim, shrinkage)
                for level in self.levels
            ]
            levels = tuple(project(level, *m) for level, m in zip(self.levels, maps))
            in_memory = dataclasses.replace(self, levels=levels, folder=None)
            if folder is None:
                return in_memory
            try:
                store_levels(folder, levels, facts)
            except OSError as error:
                log.warning("whitened features are kept in memory alone: %s", error)
                return in_memory
            known = open_levels(folder, len(levels)), facts
        return dataclasses.replace(self, levels=known[0], folder=folder)

    def _repr_html_(self) -> str:
        counts = self.samples.groupby(["category", "split"]).size().unstack()
        return f"<p>{html.escape(repr(self))}</p>{counts.to_html()}"

    def __repr__(self) -> str:
        levels = ", ".join(
            f"{h}×{w}×{dim}" for (h, w), dim in zip(self.grids, self.dims)
        )
        n = len(self.categories)
        return f"Features({len(self)} images of {n} categories; levels {levels})"


@checked
def union(parts: Sequence[Features]) -> Features:
    """The images of several selections of the same features, in order."""
    if not parts or any(part.levels is not parts[0].levels for part in parts):
        raise ValueError(
            "Expected selections of the same features; got none, or features of "
            "different extractions."
        )
    samples = pd.concat([part.samples for part in parts], ignore_index=True)
    return dataclasses.replace(
        parts[0], samples=samples, rows=np.concatenate([part.rows for part in parts])
    )
