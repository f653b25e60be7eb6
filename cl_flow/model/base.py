"""What runs and tables need of a model, whatever it is.

A shape, a config and a seed build it; categories are added to it by name; a snapshot
keeps its tensors, and notes what grew since it was built.
"""

__all__ = ["Model"]

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Model(nn.Module):
    """Detector that learns categories task after task.

    How it is trained says `cl_flow.training`, how it scores `cl_flow.scoring`.

    Args:
        dims: Channels D of each level of features.
        grids: (height, width) of each level.
        config: Of its class `Config`.
        seed: Everything random in the model comes from it.

    Raises:
        ValueError: No level, or another number of dims than of grids.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    per_class: ClassVar[str]  # what it has of a category
    # Whether it reads an image as a whole, or any patches of it.
    whole_images: ClassVar[bool] = False
    # Whether how it learns differs from task to task.
    needs_boundaries: ClassVar[bool] = False
    config: Any

    def __init__(
        self,
        dims: Sequence[int],
        grids: Sequence[tuple[int, int]],
        config: Any,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        if len(dims) != len(grids) or not dims:
            raise ValueError(
                "Expected as many dims as grids, at least one; "
                f"got {len(dims)} and {len(grids)}."
            )
        self.dims = tuple(dims)
        self.grids = tuple((height, width) for height, width in grids)
        self.config = config
        self.seed = seed
        self.categories: tuple[str, ...] = ()
        # Weights of some classes alone, see `cl_flow.model.class_views`.
        self.own: dict[str, Tensor] = {}

    @classmethod
    def told(cls, config: Any, n_classes: int) -> Any:
        """Config of a model that is told how many classes the whole stream has.

        One that does not ask leaves it as it is.
        """
        return config

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.categories)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def class_ids(self, categories: Sequence[str]) -> Tensor:
        """Class id of each category name (n,), on the model's device.

        Raises:
            KeyError: A category that the model has not been given.
        """
        ids = {name: i for i, name in enumerate(self.categories)}
        unknown = sorted(set(categories) - set(ids))
        if unknown:
            names = ", ".join(unknown)
            known = ", ".join(self.categories) or "none yet"
            raise KeyError(f"No {self.per_class} for {names}; known: {known}.")
        given = [ids[name] for name in categories]
        return torch.tensor(given, dtype=torch.long, device=self.device)

    def expand_(self, categories: int | Sequence[str]) -> "Model":
        """Add classes, by their names or as many nameless ones."""
        raise NotImplementedError

    def new_names(self, categories: int | Sequence[str]) -> tuple[str, ...]:
        """Names of classes to add, or of so many nameless ones.

        Raises:
            ValueError: One that the model already has, or that is there twice.
        """
        if isinstance(categories, int):
            ids = range(self.n_classes, self.n_classes + categories)
            return tuple(f"class {i}" for i in ids)
        names = self.categories + tuple(categories)
        if len(set(names)) < len(names):
            raise ValueError(
                f"Expected new categories, each once; got {', '.join(categories)}, "
                f"known {self.categories}."
            )
        return tuple(categories)

    def fresh(self) -> "Model":
        """A new model of the same shape and seed, without knowledge or classes."""
        fresh = type(self)(self.dims, self.grids, self.config, seed=self.seed)
        return fresh.to(self.device)

    # ---- on disk

    def growth(self) -> dict[str, Any]:
        """What a snapshot notes of it beside shape, config, seed and categories."""
        raise NotImplementedError

    def grow_(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Make room for the tensors of a snapshot.

        Args:
            facts: What `growth` noted.
            tensors: Of the model, by name.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        categories = list(self.categories)
        return f"categories={categories}, seed={self.seed}"
