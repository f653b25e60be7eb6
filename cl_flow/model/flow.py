"""The flow: per feature level, coupling blocks conditional on position that end in a
Mixture.
"""

__all__ = ["FlowConfig", "FlowModel", "Level", "trainable"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import FrEIA.framework
import FrEIA.modules
import torch
from torch import Tensor, nn

from cl_flow.model.coupling import Coupling, Positions, encode_positions
from cl_flow.model.kernels.couplings import couple
from cl_flow.model.mixture import Mixture


@dataclass(frozen=True)
class FlowConfig:
    """Shape of the model; the defaults are HGAD's.

    Args:
        n_blocks: Coupling blocks per level.
        n_components: Components per class M, the main center included.
        position_dim: Channels of the position encoding P, a multiple of 4.
        hidden: Width of each subnet; None is HGAD's 2·(⌈D/2⌉ + P).
        clamp: Bound of the log scale of a coupling.
        placement: Where new centers go, by the names in
            `cl_flow.model.placement.PLACEMENTS`.
    """

    n_blocks: int = 12
    n_components: int = 10
    position_dim: int = 256
    hidden: int | None = None
    clamp: float = 1.9
    placement: str = "tile"


class Level(nn.Module):
    """One feature level: a flow over patches (N, D), the position codes of its grid,
    and its mixture.

    Args:
        dim: Channels D, 2 or more.
        grid: Height and width of the feature map.
        config: Shape of the flow.
        seed: Seeds the soft permutations; the subnets draw from the current generator.
    """

    def __init__(
        self, dim: int, grid: tuple[int, int], config: FlowConfig, *, seed: int
    ) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"Expected at least 2 channels to couple; got {dim}.")
        self.dim, self.grid = dim, tuple(grid)
        self.flow = FrEIA.framework.SequenceINN(dim)
        for block in range(config.n_blocks):
            self.flow.append(
                Coupling,
                cond=0,
                cond_shape=(config.position_dim,),
                hidden=config.hidden,
                clamp=config.clamp,
                seed=seed + block,
            )
        self.mixture = Mixture(dim, n_components=config.n_components)
        self.register_buffer(
            "codes", encode_positions(config.position_dim, *grid), persistent=False
        )
        self.register_buffer(
            "class_codes", None
        )  # (K, P), where the class conditions the flow as the position does

    def forward(
        self, x: Tensor, index: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latents z (N, D) and log |det ∂z/∂x| (N,) of patches x (N, D).

        Args:
            x: Patches (N, D); whole grids in row order, unless `index` is given.
            index: Grid cell of each patch (N,).
            y: Class ids (B,), N/B consecutive patches each; read only where the level
                has `class_codes`.
        """
        condition = self._condition(x, index, y)
        if all(
            type(block).forward is Coupling.forward for block in self.flow
        ):  # all blocks in one go
            return couple(
                x,
                *condition,
                [block.block for block in self.flow],
                clamp=self.flow[0].clamp,
            )
        return self.flow(x, c=[condition])

    def inverse(
        self, z: Tensor, index: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Patches x (N, D) and log |det ∂x/∂z| (N,) of latents z (N, D)."""
        return self.flow(z, c=[self._condition(z, index, y)], rev=True)

    def _condition(
        self, x: Tensor, index: Tensor | None, y: Tensor | None
    ) -> Positions:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(
                f"Expected patches of shape (N, {self.dim}); got {tuple(x.shape)}."
            )
        if index is None and len(x) % len(self.codes):
            cells = "×".join(map(str, self.grid))
            raise ValueError(
                f"Expected whole {cells} grids, or the grid cell of each patch; got {len(x)} patches."
            )
        return (
            Positions(self.codes, index)
            if self.class_codes is None
            else self._of_class(len(x), index, y)
        )

    def _of_class(self, n: int, index: Tensor | None, y: Tensor | None) -> Positions:
        if y is None:
            raise ValueError(
                "Expected the class of each image, as this flow is conditional on it; got none."
            )
        if len(y) == 1:
            return Positions(self.class_codes[y] + self.codes, index)
        cells = len(self.codes)
        index = torch.arange(n, device=y.device) % cells if index is None else index
        y = y.repeat_interleave(n // len(y))
        if n < cells * len(self.class_codes):  # a row for each patch
            return Positions(self.class_codes[y] + self.codes[index])
        return Positions(
            (self.class_codes[:, None] + self.codes).flatten(0, 1), y * cells + index
        )


class FlowModel(nn.Module):
    """HGAD: for each feature level a conditional coupling flow ending in a
    class-conditional Mixture.

    It starts without classes; `expand_` adds them and remembers their names, in order
    of arrival.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly
        detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        dims: Channels D of each level.
        grids: (height, width) of each level.
        config: Shape of the flow and the mixture.
        seed: Everything random in the model comes from it.
    """

    def __init__(
        self,
        dims: Sequence[int],
        grids: Sequence[tuple[int, int]],
        config: FlowConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(dims) != len(grids) or not dims:
            raise ValueError(
                f"Expected as many dims as grids, at least one; got {len(dims)} and {len(grids)}."
            )
        self.dims, self.grids = tuple(dims), tuple(tuple(grid) for grid in grids)
        self.config, self.seed = config or FlowConfig(), seed
        self.categories: tuple[str, ...] = ()
        self.own: dict[
            str, Tensor
        ] = {}  # weights of some classes alone, see `cl_flow.model.class_views`
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            levels = [
                Level(dim, grid, self.config, seed=1000 * seed + 100 * i)
                for i, (dim, grid) in enumerate(zip(dims, grids))
            ]
        self.levels = nn.ModuleList(levels)

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return self.levels[0].mixture.n_classes

    def class_ids(self, categories: Sequence[str]) -> Tensor:
        """Class id of each category name (n,), on the model's device.

        Raises:
            KeyError: A category that the model has no center for.
        """
        ids = {name: i for i, name in enumerate(self.categories)}
        unknown = sorted(set(categories) - set(ids))
        if unknown:
            raise KeyError(
                f"No center for {', '.join(unknown)}; known: {', '.join(self.categories) or 'none yet'}."
            )
        return torch.tensor(
            [ids[name] for name in categories],
            dtype=torch.long,
            device=self.levels[0].codes.device,
        )

    def expand_(
        self,
        categories: int | Sequence[str],
        *,
        init: str | None = None,
        data: Sequence[Tensor] | None = None,
    ) -> "FlowModel":
        """Add classes to every level's mixture; the flows and the old classes keep
        their bits.

        Args:
            categories: Names of the new classes, or how many nameless ones to add.
            init: Placement of their centers (`cl_flow.model.placement.PLACEMENTS`); the
                configured one by default.
            data: Per level the means of the new classes (n, D), for `init="data"`.

        Raises:
            ValueError: No class, or one that the model already has.
        """
        if isinstance(categories, int):
            categories = [f"class {self.n_classes + i}" for i in range(categories)]
        repeated = sorted(set(categories) & set(self.categories)) or len(
            set(categories)
        ) < len(categories)
        if repeated:
            raise ValueError(
                f"Expected new categories, each once; got {', '.join(categories)}, known {self.categories}."
            )
        for i, level in enumerate(self.levels):
            generator = torch.Generator().manual_seed(
                1_000_000 + 1000 * self.seed + 100 * i + self.n_classes
            )
            grown = level.mixture.expand(
                len(categories),
                init=init or self.config.placement,
                data=None if data is None else data[i],
                generator=generator,
            )
            level.mixture = grown.to(level.codes)
        self.categories += tuple(categories)
        return self

    def fresh(self) -> "FlowModel":
        """A new model of the same shape and seed that has learnt nothing and knows no
        class.
        """
        return FlowModel(self.dims, self.grids, self.config, seed=self.seed).to(
            self.levels[0].codes.device
        )

    def extra_repr(self) -> str:
        return f"categories={list(self.categories)}, seed={self.seed}"


def trainable(model: FlowModel, *, weight_decay: float) -> list[dict]:
    """Optimizer groups of all that learns: flow weights with decay; centers, offsets
    and logits without.

    What is frozen is in no group: a zero gradient alone would not keep it, since decay
    and momentum still move it.
    """

    def learning(parameters: Iterator[nn.Parameter]) -> list[nn.Parameter]:
        return [parameter for parameter in parameters if parameter.requires_grad]

    flow = learning(
        parameter for level in model.levels for parameter in level.flow.parameters()
    )
    mixture = learning(
        parameter for level in model.levels for parameter in level.mixture.parameters()
    )
    groups = [
        {"params": flow, "weight_decay": weight_decay},
        {"params": mixture, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
