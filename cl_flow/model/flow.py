"""The flow: per feature level, coupling blocks conditional on position that end in a Mixture."""

__all__ = ["Coupling", "FlowConfig", "FlowModel", "Level", "Positions", "encode_positions", "pick_device", "trainable"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import FrEIA.framework
import FrEIA.modules
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import special_ortho_group
from torch import Tensor, nn

from cl_flow.coupling import Block, couple
from cl_flow.mixture import Mixture


@dataclass(frozen=True)
class FlowConfig:
    """Shape of the model; the defaults are HGAD's.

    Args:
        n_blocks: Coupling blocks per level.
        n_components: Components per class M, the main center included.
        position_dim: Channels of the position encoding P, a multiple of 4.
        hidden: Width of each subnet; None is HGAD's 2·(⌈D/2⌉ + P).
        clamp: Bound of the log scale of a coupling.
        placement: Where new centers go, by the names in `cl_flow.placement.PLACEMENTS`.
    """

    n_blocks: int = 12
    n_components: int = 10
    position_dim: int = 256
    hidden: int | None = None
    clamp: float = 1.9
    placement: str = "tile"


class Positions(NamedTuple):
    """The condition of a batch: a table of position codes, and which row each patch reads.

    Args:
        table: Position codes (S, P) of the S cells of a grid, or whatever else patches are told.
        index: Row of each patch (N,); None when the patches are whole grids, cell by cell (N a multiple of S).
    """

    table: Tensor
    index: Tensor | None = None


def encode_positions(dim: int, height: int, width: int) -> Tensor:
    """2-D sine/cosine code of every grid cell (height·width, dim), row by row.

    The first half of the channels codes the column, the second the row, at wavelengths from 2π to 10000·2π.

    Raises:
        ValueError: `dim` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"Expected a position dimension that is a multiple of 4; got {dim}.")
    rate = torch.exp(torch.arange(0.0, dim // 2, 2) * -(math.log(1e4) / (dim // 2)))

    def code(n: int) -> Tensor:
        angle = torch.arange(0.0, n)[:, None] * rate
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    columns = code(width)[None, :, :].expand(height, -1, -1)
    rows = code(height)[:, None, :].expand(-1, width, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)


class Coupling(FrEIA.modules.InvertibleModule):
    r"""FrEIA's conditional `AllInOneBlock` (soft permutation, SOFTPLUS affine), laid out for grids.

    With x = [x₁, x₂] and [a, t] = 0.1 · subnet(x₁, c):
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o). $$
    The subnet's first layer is split in two, so that the codes are projected once per cell instead of once per patch,
    and no concatenation of patches and codes is ever made.

    References:
        Density estimation using Real NVP (Dinh et al., 2017) https://arxiv.org/abs/1605.08803
        Framework for easily invertible architectures (Ardizzone et al., 2018) https://github.com/vislearn/FrEIA
    """

    def __init__(
        self,
        dims_in: Sequence[tuple[int]],
        dims_c: Sequence[tuple[int]],
        *,
        hidden: int | None,
        clamp: float,
        seed: int,
    ) -> None:
        super().__init__(dims_in, dims_c)
        dim, n_positions = dims_in[0][0], dims_c[0][0]
        self.split, self.clamp = (dim - dim // 2, dim // 2), clamp
        hidden = hidden or 2 * (self.split[0] + n_positions)
        whole = nn.Linear(self.split[0] + n_positions, hidden)
        self.inner_weight = nn.Parameter(whole.weight.detach()[:, : self.split[0]].clone())
        self.position_weight = nn.Parameter(whole.weight.detach()[:, self.split[0] :].clone())
        self.inner_bias = nn.Parameter(whole.bias.detach().clone())
        self.outer = nn.Linear(hidden, 2 * self.split[1])
        self.global_scale = nn.Parameter(torch.full((dim,), 2 * math.log(math.expm1(5.0))))
        self.global_offset = nn.Parameter(torch.zeros(dim))
        rotation = special_ortho_group.rvs(dim, random_state=np.random.default_rng(seed))
        self.register_buffer("rotation", torch.as_tensor(rotation, dtype=torch.get_default_dtype()))

    def output_dims(self, input_dims: list[tuple[int]]) -> list[tuple[int]]:
        return input_dims

    def forward(
        self, x_or_z: Sequence[Tensor], c: Sequence[Positions], rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        """FrEIA's interface: x (N, D) to z (N, D) and log |det ∂z/∂x| (N,), or back when `rev`."""
        return self._backward(x_or_z[0], c[0]) if rev else self._forward(x_or_z[0], c[0])

    @property
    def block(self) -> Block:
        """The weights that it computes with."""
        return Block(
            self.inner_weight,
            self.position_weight,
            self.inner_bias,
            self.outer.weight,
            self.outer.bias,
            self.global_scale,
            self.global_offset,
            self.rotation,
        )

    def _forward(self, x: Tensor, c: Positions) -> tuple[tuple[Tensor], Tensor]:
        z, log_det = couple(x, *c, [self.block], clamp=self.clamp)
        return (z,), log_det

    def _backward(self, z: Tensor, c: Positions) -> tuple[tuple[Tensor], Tensor]:
        scale = 0.1 * F.softplus(self.global_scale, beta=0.5)
        x1, mixed = ((z @ self.rotation - self.global_offset) / scale).split(self.split, dim=1)
        codes = F.linear(c.table, self.position_weight, self.inner_bias)
        codes = codes.repeat(len(z) // len(codes), 1) if c.index is None else codes[c.index]
        a, t = (0.1 * self.outer((F.linear(x1, self.inner_weight) + codes).relu())).split(self.split[1], dim=1)
        log_s = self.clamp * a.tanh()
        return (torch.cat([x1, (mixed - t) * torch.exp(-log_s)], dim=1),), -log_s.sum(1) - scale.log().sum()

    def load_all_in_one_(self, state: Mapping[str, Tensor]) -> "Coupling":
        """Take the weights of a FrEIA `AllInOneBlock` (its `state_dict`) and compute the same function."""
        first = state["subnet.0.weight"]
        values = {
            "inner_weight": first[:, : self.split[0]],
            "position_weight": first[:, self.split[0] :],
            "inner_bias": state["subnet.0.bias"],
            "outer.weight": state["subnet.2.weight"],
            "outer.bias": state["subnet.2.bias"],
            "global_scale": state["global_scale"].flatten(),
            "global_offset": state["global_offset"].flatten(),
            "rotation": state["w_perm"],
        }
        self.load_state_dict(values)
        return self


class Level(nn.Module):
    """One feature level: a flow over patches (N, D), the position codes of its grid, and its mixture.

    Args:
        dim: Channels D, 2 or more.
        grid: Height and width of the feature map.
        config: Shape of the flow.
        seed: Seeds the soft permutations; the subnets draw from the current generator.
    """

    def __init__(self, dim: int, grid: tuple[int, int], config: FlowConfig, *, seed: int) -> None:
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
        self.register_buffer("codes", encode_positions(config.position_dim, *grid), persistent=False)
        self.register_buffer("class_codes", None)  # (K, P), where the class conditions the flow as the position does

    def forward(self, x: Tensor, index: Tensor | None = None, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents z (N, D) and log |det ∂z/∂x| (N,) of patches x (N, D).

        Args:
            x: Patches (N, D); whole grids in row order, unless `index` is given.
            index: Grid cell of each patch (N,).
            y: Class ids (B,), N/B consecutive patches each; read only where the level has `class_codes`.
        """
        condition = self._condition(x, index, y)
        if all(type(block).forward is Coupling.forward for block in self.flow):  # all blocks in one go
            return couple(x, *condition, [block.block for block in self.flow], clamp=self.flow[0].clamp)
        return self.flow(x, c=[condition])

    def inverse(self, z: Tensor, index: Tensor | None = None, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patches x (N, D) and log |det ∂x/∂z| (N,) of latents z (N, D)."""
        return self.flow(z, c=[self._condition(z, index, y)], rev=True)

    def _condition(self, x: Tensor, index: Tensor | None, y: Tensor | None) -> Positions:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"Expected patches of shape (N, {self.dim}); got {tuple(x.shape)}.")
        if index is None and len(x) % len(self.codes):
            cells = "×".join(map(str, self.grid))
            raise ValueError(f"Expected whole {cells} grids, or the grid cell of each patch; got {len(x)} patches.")
        return Positions(self.codes, index) if self.class_codes is None else self._of_class(len(x), index, y)

    def _of_class(self, n: int, index: Tensor | None, y: Tensor | None) -> Positions:
        if y is None:
            raise ValueError("Expected the class of each image, as this flow is conditional on it; got none.")
        if len(y) == 1:
            return Positions(self.class_codes[y] + self.codes, index)
        cells = len(self.codes)
        index = torch.arange(n, device=y.device) % cells if index is None else index
        y = y.repeat_interleave(n // len(y))
        if n < cells * len(self.class_codes):  # a row for each patch
            return Positions(self.class_codes[y] + self.codes[index])
        return Positions((self.class_codes[:, None] + self.codes).flatten(0, 1), y * cells + index)


class FlowModel(nn.Module):
    """HGAD: for each feature level a conditional coupling flow ending in a class-conditional Mixture.

    It starts without classes; `expand_` adds them and remembers their names, in order of arrival.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        dims: Channels D of each level.
        grids: (height, width) of each level.
        config: Shape of the flow and the mixture.
        seed: Everything random in the model comes from it.
    """

    def __init__(
        self, dims: Sequence[int], grids: Sequence[tuple[int, int]], config: FlowConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        if len(dims) != len(grids) or not dims:
            raise ValueError(f"Expected as many dims as grids, at least one; got {len(dims)} and {len(grids)}.")
        self.dims, self.grids = tuple(dims), tuple(tuple(grid) for grid in grids)
        self.config, self.seed = config or FlowConfig(), seed
        self.categories: tuple[str, ...] = ()
        self.own: dict[str, Tensor] = {}  # weights of some classes alone, see `cl_flow.views`
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
            raise KeyError(f"No center for {', '.join(unknown)}; known: {', '.join(self.categories) or 'none yet'}.")
        return torch.tensor([ids[name] for name in categories], dtype=torch.long, device=self.levels[0].codes.device)

    def expand_(
        self, categories: int | Sequence[str], *, init: str | None = None, data: Sequence[Tensor] | None = None
    ) -> "FlowModel":
        """Add classes to every level's mixture; the flows and the old classes keep their bits.

        Args:
            categories: Names of the new classes, or how many nameless ones to add.
            init: Placement of their centers (`cl_flow.placement.PLACEMENTS`); the configured one by default.
            data: Per level the means of the new classes (n, D), for `init="data"`.

        Raises:
            ValueError: No class, or one that the model already has.
        """
        if isinstance(categories, int):
            categories = [f"class {self.n_classes + i}" for i in range(categories)]
        repeated = sorted(set(categories) & set(self.categories)) or len(set(categories)) < len(categories)
        if repeated:
            raise ValueError(
                f"Expected new categories, each once; got {', '.join(categories)}, known {self.categories}."
            )
        for i, level in enumerate(self.levels):
            generator = torch.Generator().manual_seed(1_000_000 + 1000 * self.seed + 100 * i + self.n_classes)
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
        """A new model of the same shape and seed that has learnt nothing and knows no class."""
        return FlowModel(self.dims, self.grids, self.config, seed=self.seed).to(self.levels[0].codes.device)

    def extra_repr(self) -> str:
        return f"categories={list(self.categories)}, seed={self.seed}"


def trainable(model: FlowModel, *, weight_decay: float) -> list[dict]:
    """Optimizer groups of all that learns: flow weights with decay; centers, offsets and logits without.

    What is frozen is in no group: a zero gradient alone would not keep it, since decay and momentum still move it.
    """

    def learning(parameters: Iterator[nn.Parameter]) -> list[nn.Parameter]:
        return [parameter for parameter in parameters if parameter.requires_grad]

    flow = learning(parameter for level in model.levels for parameter in level.flow.parameters())
    mixture = learning(parameter for level in model.levels for parameter in level.mixture.parameters())
    groups = [{"params": flow, "weight_decay": weight_decay}, {"params": mixture, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; by default the GPU when there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
