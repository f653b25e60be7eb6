"""The flow: per feature level, coupling blocks that end in a Mixture.

The blocks are conditional on position.
"""

__all__ = ["FlowConfig", "FlowModel", "Level", "couplings", "trainable"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cl_flow.devices import seeded
from cl_flow.identity import settle
from cl_flow.model.base import Model
from cl_flow.model.input_alignment import InputAlignment
from cl_flow.model.kernels import couple, pays
from cl_flow.model.mixture import Mixture
from cl_flow.model.placement import PLACEMENTS
from cl_flow.model.positions import Positions, encode_positions

if TYPE_CHECKING:
    from FrEIA.framework import SequenceINN


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
            `cl_flow.model.placement.PLACEMENTS`; not `"data"`, which needs them at
            hand.

    Raises:
        KeyError, ValueError: Another placement.

    Example:
        >>> FlowConfig(n_blocks=6).n_components
        10
    """

    n_blocks: int = 12
    n_components: int = 10
    position_dim: int = 256
    hidden: int | None = None
    clamp: float = 1.9
    placement: str = "tile"

    def __post_init__(self) -> None:
        settle(
            self,
            n_blocks=(1, math.inf),
            n_components=(1, math.inf),
            position_dim=(4, math.inf),
            hidden=(1, math.inf),
            clamp=(0, math.inf),
        )
        PLACEMENTS[self.placement]
        if self.placement == "data":
            raise ValueError(
                "Expected a placement that looks at no data, such as 'tile'; got "
                "'data', for which one calls model.expand_(…, init='data', data=…)."
            )


class Level(nn.Module):
    """One feature level: a flow over patches (N, D), position codes and a mixture.

    Args:
        dim: Channels D, 2 or more.
        grid: Height and width of the feature map.
        config: Shape of the flow.
        seed: Seeds the soft permutations; the subnets draw from the current generator.
    """

    mixture: Mixture
    codes: Tensor
    class_codes: Tensor | None

    def __init__(
        self,
        dim: int,
        grid: tuple[int, int],
        config: FlowConfig,
        *,
        seed: int,
    ) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"Expected at least 2 channels to couple; got {dim}.")
        self.dim = dim
        self.grid = tuple(grid)
        # Layers of one task, see `cl_flow.model.task_layers`.
        self.before: InputAlignment | None = None
        self.flow = couplings(dim, config, seed)
        self.after: SequenceINN | None = None
        self.mixture = Mixture(dim, n_components=config.n_components)
        codes = encode_positions(config.position_dim, *grid)
        self.register_buffer("codes", codes, persistent=False)
        # (K, P), where the class conditions the flow as the position does.
        self.register_buffer("class_codes", None)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        y: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Latents z (N, D) and log |det ∂z/∂x| (N,) of patches x (N, D).

        The blocks one after the other define them. Where it pays
        (`cl_flow.model.kernels.choice.pays`) and every block is a plain `Coupling`, the
        kernel `couple` computes all of them in one go.

        Args:
            x: Patches (N, D); whole grids in row order, unless `index` is given.
            index: Grid cell of each patch (N,).
            y: Class ids (B,), N/B consecutive patches each; read only where the level
                has `class_codes`.
        """
        condition = self._condition(x, index, y)
        if self.before is None and self.after is None:
            return _through(self.flow, x, condition)
        return self._surrounded(x, condition)

    def _surrounded(self, x: Tensor, condition: Positions) -> tuple[Tensor, Tensor]:
        """What `forward` gives where a task has layers of its own."""
        log_dets = []
        if self.before is not None:
            x, log_det = self.before(x)
            log_dets.append(log_det)
        for flow in (self.flow, self.after):
            if flow is not None:
                x, log_det = _through(flow, x, condition)
                log_dets.append(log_det)
        return x, sum(log_dets)

    def inverse(
        self,
        z: Tensor,
        index: Tensor | None = None,
        y: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Patches x (N, D) and log |det ∂x/∂z| (N,) of latents z (N, D)."""
        condition = self._condition(z, index, y)
        log_dets = []
        for flow in (self.after, self.flow):
            if flow is not None:
                z, log_det = flow(z, c=[condition], rev=True)
                log_dets.append(log_det)
        if self.before is not None:
            z, log_det = self.before.inverse(z)
            log_dets.append(log_det)
        return z, sum(log_dets)

    def _condition(
        self,
        x: Tensor,
        index: Tensor | None,
        y: Tensor | None,
    ) -> Positions:
        shape = tuple(x.shape)
        if shape[1:] != (self.dim,):
            raise ValueError(f"Expected patches of shape (N, {self.dim}); got {shape}.")
        if index is None and len(x) % len(self.codes):
            height, width = self.grid
            raise ValueError(
                f"Expected whole {height}×{width} grids, or the grid cell of each "
                f"patch; got {len(x)} patches."
            )
        if self.class_codes is None:
            return Positions(self.codes, index)
        return self._condition_on_class(len(x), index, y)

    def _condition_on_class(
        self,
        n: int,
        index: Tensor | None,
        y: Tensor | None,
    ) -> Positions:
        if y is None:
            raise ValueError(
                "Expected the class of each image, as this flow is conditional on it; "
                "got none."
            )
        if len(y) == 1:
            table = self.class_codes[y] + self.codes
            return Positions(table, index)
        n_cells = len(self.codes)
        n_rows = n_cells * len(self.class_codes)
        if index is None:
            patches = torch.arange(n, device=y.device)
            index = patches % n_cells
        y = y.repeat_interleave(n // len(y))
        # The smaller table: a row for each patch, or for each class and cell.
        if n < n_rows:
            table = self.class_codes[y] + self.codes[index]
            return Positions(table)
        table = self.class_codes[:, None] + self.codes
        rows = y * n_cells + index
        return Positions(table.flatten(0, 1), rows)


def _through(
    flow: "SequenceINN", x: Tensor, condition: Positions
) -> tuple[Tensor, Tensor]:
    """Latents and log-determinants, by the kernel where it pays."""
    is_plain = all(getattr(block, "is_plain", False) for block in flow)
    if pays() and is_plain:
        clamp = flow[0].clamp
        blocks = [block.block for block in flow]
        return couple(x, *condition, blocks, clamp=clamp)
    return flow(x, c=[condition])


def couplings(dim: int, config: FlowConfig, seed: int | None) -> "SequenceINN":
    """Coupling blocks one after the other.

    FrEIA, and with it scipy.stats, is imported once a flow is built.

    Args:
        dim: Channels D.
        config: Number and shape of the blocks.
        seed: Of the rotations; without it they turn the order of the channels round.
    """
    from FrEIA.framework import SequenceINN

    from cl_flow.model.coupling import Coupling

    flow = SequenceINN(dim)
    for block in range(config.n_blocks):
        flow.append(
            Coupling,
            cond=0,
            cond_shape=(config.position_dim,),
            hidden=config.hidden,
            clamp=config.clamp,
            seed=None if seed is None else seed + block,
        )
    return flow


class Levels(nn.ModuleList):
    """Levels of a model, from the first feature level on."""

    def __iter__(self) -> Iterator[Level]:
        return super().__iter__()

    def __getitem__(self, i: int) -> Level:
        return super().__getitem__(i)


class FlowModel(Model):
    """HGAD: for each feature level a conditional flow ending in a Mixture.

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

    Example:
        >>> config = FlowConfig(n_blocks=2, n_components=3, position_dim=8)
        >>> model = FlowModel([6], [(4, 4)], config).expand_(["bottle", "cable"])
        >>> model.categories
        ('bottle', 'cable')
        >>> level = model.levels[0]
        >>> z, log_det = level(torch.zeros(2 * 16, 6))
        >>> z.shape, log_det.shape
        (torch.Size([32, 6]), torch.Size([32]))
        >>> level.mixture.log_prob(z, model.class_ids(["cable", "bottle"])).shape
        torch.Size([32])
    """

    name = "flow"
    Config = FlowConfig
    per_class = "center"
    config: FlowConfig

    def __init__(
        self,
        dims: Sequence[int],
        grids: Sequence[tuple[int, int]],
        config: FlowConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(dims, grids, config or FlowConfig(), seed=seed)
        self.levels = Levels()
        with seeded(seed):
            for i, dim in enumerate(self.dims):
                grid = self.grids[i]
                level_seed = 1000 * seed + 100 * i
                level = Level(dim, grid, self.config, seed=level_seed)
                self.levels.append(level)

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return self.levels[0].mixture.n_classes

    @property
    def arrivals(self) -> list[tuple[str, ...]]:
        """Categories that arrived together, oldest first: those of each expansion."""
        out = []
        begin = 0
        for block in self.levels[0].mixture.blocks():
            end = begin + len(block["mu"])
            out.append(self.categories[begin:end])
            begin = end
        return out

    def expand_(
        self,
        categories: int | Sequence[str],
        *,
        init: str | None = None,
        data: Sequence[Tensor] | None = None,
    ) -> "FlowModel":
        """Add classes to every level's mixture.

        The flows and the old classes keep their bits.

        Args:
            categories: Names of the new classes, or how many nameless ones to add.
            init: Placement of their centers (`cl_flow.model.placement.PLACEMENTS`); the
                configured one by default.
            data: Per level the means of the new classes (n, D), for `init="data"`.

        Raises:
            ValueError: No class, or one that the model already has.
        """
        names = self.new_names(categories)
        for i, level in enumerate(self.levels):
            grown = level.mixture.expand(
                len(names),
                init=init or self.config.placement,
                data=None if data is None else data[i],
                generator=self._generator(i),
            )
            level.mixture = grown.to(level.codes)
        self.categories += names
        return self

    def _generator(self, i: int) -> torch.Generator:
        """Source of what a level's next classes draw; it differs for every K."""
        model_seed = 1_000_000 + 1000 * self.seed
        seed = model_seed + 100 * i + self.n_classes
        return torch.Generator().manual_seed(seed)

    def fresh(self) -> "FlowModel":
        """A new model of the same shape and seed, without knowledge or classes."""
        fresh = FlowModel(self.dims, self.grids, self.config, seed=self.seed)
        return fresh.to(self.device)

    def growth(self) -> dict[str, Any]:
        """Classes of each expansion, and the kind of covariances."""
        mixture = self.levels[0].mixture
        sizes = [len(block["mu"]) for block in mixture.blocks()]
        return {"blocks": sizes, "covariance": mixture.covariance}

    def grow_(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        for i, level in enumerate(self.levels):
            framed = f"levels.{i}.mixture._frame_weight" in tensors
            level.mixture.allocate_(
                facts["blocks"],
                frames=framed,
                covariance=facts.get("covariance"),
            )
            level.class_codes = tensors.get(f"levels.{i}.class_codes")


def trainable(model: FlowModel, *, weight_decay: float) -> list[dict]:
    """Optimizer groups of all that learns.

    Flow weights have decay; centers, offsets and logits have none. Frozen parameters
    are in no group: a zero gradient alone would not keep them, since decay and momentum
    still move them.
    """
    flow = []
    mixture = []
    for level in model.levels:
        for layers in (level.before, level.flow, level.after):
            flow += [] if layers is None else _learning(layers)
        mixture += _learning(level.mixture)
    groups = [
        {"params": flow, "weight_decay": weight_decay},
        {"params": mixture, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _learning(module: nn.Module) -> list[nn.Parameter]:
    parameters = module.parameters()
    return [parameter for parameter in parameters if parameter.requires_grad]
