"""Parameters of a mixture, class by class, and how they grow."""

__all__ = ["Centers", "NAMES"]

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from cl_flow.model.covariances import COVARIANCES, Covariances
from cl_flow.model.frames import Frames
from cl_flow.model.placement import PLACEMENTS

NAMES = ("mu", "delta", "phi", "psi")
Self = TypeVar("Self", bound="Centers")


class Centers(nn.Module):
    """Centers, offsets, logits and frames of a class-conditional mixture.

    Every expansion is a block of parameters of its own, so that what was learned
    earlier can be frozen without touching what is new. `Mixture` gives them a density.

    Args:
        dim: Number of latent dimensions D.
        n_components: Components per class M, the main center included.
    """

    neighbours: Tensor | None

    def __init__(self, dim: int, *, n_components: int = 10) -> None:
        super().__init__()
        if dim < 1 or n_components < 1:
            raise ValueError(
                f"Expected dim ≥ 1 and n_components ≥ 1; got {dim} and {n_components}."
            )
        self.dim = dim
        self.n_components = n_components
        self._mu = nn.ParameterList()
        self._delta = nn.ParameterList()
        self._phi = nn.ParameterList()
        self._psi = nn.ParameterList()
        self.register_buffer("_frame_weight", None)
        self.register_buffer("_frame_bias", None)
        self._covariances = Covariances()
        # (M, M), while the loss within a class looks at neighbours (`annealing`).
        self.register_buffer("neighbours", None, persistent=False)

    # ---- what it holds

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return sum(len(block) for block in self._mu)

    @property
    def mu(self) -> Tensor:
        """Main centers (K, D)."""
        return self._rows("mu")

    @property
    def delta(self) -> Tensor:
        """Offsets of the other components from their main center (K, M−1, D)."""
        return self._rows("delta")

    @property
    def phi(self) -> Tensor:
        """Class logits (K,)."""
        return self._rows("phi")

    @property
    def psi(self) -> Tensor:
        """Component logits within each class (K, M)."""
        return self._rows("psi")

    def _rows(self, name: str) -> Tensor:
        blocks = getattr(self, f"_{name}")
        if len(blocks) == 1:
            return blocks[0]
        if len(blocks) == 0:
            return torch.empty(self._shapes(0)[name])
        return torch.cat(list(blocks))

    def _shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        """Shapes of a block of n classes."""
        return {
            "mu": (n, self.dim),
            "delta": (n, self.n_components - 1, self.dim),
            "phi": (n,),
            "psi": (n, self.n_components),
        }

    def blocks(self) -> list[dict[str, nn.Parameter]]:
        """Parameters of each expansion, oldest first: `mu`, `delta`, `phi`, `psi`."""
        blocks = zip(self._mu, self._delta, self._phi, self._psi)
        return [dict(zip(NAMES, block)) for block in blocks]

    def components(self, *, detach_mu: bool = False) -> Tensor:
        """All component centers (K, M, D).

        With `detach_mu` the gradient reaches the offsets only.
        """
        mu = self.mu.detach() if detach_mu else self.mu
        main = mu[:, None]
        others = main + self.delta
        return torch.cat([main, others], dim=1)

    def replace(self: Self, **values: Tensor) -> Self:
        """A copy with other values of `mu`, `delta`, `phi` or `psi`.

        They come in the shapes that these have; blocks stay.
        """
        other = copy.deepcopy(self)
        for name, rows in values.items():
            expected = tuple(getattr(self, name).shape)
            shape = tuple(rows.shape)
            if shape != expected:
                raise ValueError(f"Expected {name} of shape {expected}; got {shape}.")
            parameters = [block[name] for block in other.blocks()]
            sizes = [len(parameter) for parameter in parameters]
            pieces = rows.detach().split(sizes)
            for parameter, piece in zip(parameters, pieces):
                parameter.data = piece.to(parameter).clone()
        return other

    def subset(self: Self, classes: Tensor) -> Self:
        """The given classes alone (n,), in one block, with the bits they have here."""
        other = self._empty()
        block = {name: getattr(self, name)[classes] for name in NAMES}
        other._append(block)
        if self.frames is not None:
            other._set_frames(self.frames.subset(classes))
        return other

    # ---- frames

    @property
    def frames(self) -> Frames | None:
        """Weights W (K, D, D) and biases b (K, D) of the frames.

        None where every class looks at z as it is.
        """
        return self._frames()

    def _frames(self, *, detach_mu: bool = False) -> Frames | None:
        if len(self._covariances):
            mu = self.mu.detach() if detach_mu else self.mu
            return Frames.about(mu, self._covariances.weight())
        if self._frame_weight is None:
            return None
        return Frames(self._frame_weight, self._frame_bias)

    @property
    def is_framed(self) -> bool:
        """Whether the classes have frames, given or learned."""
        return len(self._covariances) > 0 or self._frame_weight is not None

    def _log_volume(self, frames: Frames) -> Tensor:
        """log|det W_k| (K,) of the frames at hand."""
        learned = self._covariances
        return learned.log_volume if len(learned) else frames.log_volume

    @property
    def covariance(self) -> tuple[str, int] | None:
        """Kind and rank of the covariances that are learned, or None."""
        return self._covariances.kind

    def with_covariance(self: Self, kind: str, *, rank: int = 4) -> Self:
        """A copy whose classes learn covariances of their own, each I at first.

        Their frames u = W_k (z − mu_k) + mu_k leave the main centers in place. Classes
        of later expansions have the same kind. Earlier frames are replaced.

        Args:
            kind: A name in `cl_flow.model.covariances.COVARIANCES`.
            rank: Directions of a covariance of the kind `"low_rank"`.

        Raises:
            KeyError: Unknown kind.
            ValueError: A rank beyond the dimensions.

        Example:
            >>> from cl_flow.model import Mixture
            >>> plain = Mixture(6, n_components=4).expand(3)
            >>> learning = plain.with_covariance("low_rank", rank=2)
            >>> z = torch.randn(8, 6)
            >>> y = torch.tensor([0, 2])
            >>> torch.equal(learning.log_prob(z, y), plain.log_prob(z, y))
            True
        """
        other = copy.deepcopy(self)
        other._set_frames(None)
        other._learn_covariances(kind, rank)
        return other

    def _learn_covariances(self, kind: str, rank: int) -> None:
        for block in self._mu:
            covariance = COVARIANCES[kind](len(block), self.dim, rank)
            self._covariances.append(covariance.to(block))

    def framed(self: Self, weight: Tensor, bias: Tensor) -> Self:
        """The same mixture, whose class k looks at u = W_k z + b_k in place of z.

        Earlier frames are replaced.

        Args:
            weight: W (K, D, D), each invertible.
            bias: b (K, D).

        Raises:
            ValueError: Another shape, or a weight that is singular or not finite.
        """
        frames = Frames(weight, bias)
        frames.check(self.n_classes, self.dim)
        framed = copy.deepcopy(self)
        framed._set_frames(frames)
        return framed

    def _set_frames(self, frames: Frames | None) -> None:
        """Look through these, which are not learned."""
        weight, bias = frames.copy() if frames is not None else (None, None)
        self._frame_weight = weight
        self._frame_bias = bias
        self._covariances = Covariances()

    # ---- growing

    def expand(
        self: Self,
        n: int,
        *,
        init: str = "tile",
        data: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """A mixture with `n` more classes.

        The rows of the old classes keep their bits (but under `"retile"`).

        Args:
            n: Number of classes to add.
            init: Where the new main centers go, by the names in
                `cl_flow.model.placement.PLACEMENTS`: `"tile"` (HGAD's geometry for K+n
                classes), `"retile"` (the same, old centers moved too, as a naive port
                would), `"orthogonal"` (directions independent of K, at distance 5 from
                every other center), `"data"` (given means).
            data: Means of the new classes (n, D) under the current flow; for
                `init="data"`.
            generator: Source of the random offsets and directions.

        Raises:
            ValueError: The dimension is too small for the placement, or `data` has
                another shape.
        """
        if n < 1:
            raise ValueError(f"Expected at least one class to add; got n = {n}.")
        place = PLACEMENTS[init]
        kept, new = place(self.mu.detach(), n, data, generator)
        grown = self._empty()
        sizes = [len(block) for block in self._mu]
        for block, mu in zip(self.blocks(), kept.split(sizes)):
            frozen = not block["mu"].requires_grad
            grown._append({**block, "mu": mu}, frozen=frozen)
        fresh = self._fresh_block(new, generator)
        grown._append(fresh)
        if len(self._covariances):
            grown._covariances = self._covariances.extend_by(n)
        elif self.frames is not None:
            grown._set_frames(self.frames.extend(n))
        return grown

    def _empty(self: Self) -> Self:
        return type(self)(self.dim, n_components=self.n_components)

    def _fresh_block(
        self, mu: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        shapes = self._shapes(len(mu))
        shape = shapes["delta"]
        delta = torch.randn(shape, generator=generator, dtype=mu.dtype)
        return {
            "mu": mu,
            "delta": delta.to(mu.device),
            "phi": mu.new_zeros(shapes["phi"]),
            "psi": mu.new_zeros(shapes["psi"]),
        }

    def _append(self, block: dict[str, Tensor], *, frozen: bool = False) -> None:
        for name, values in block.items():
            values = values.detach().clone()
            parameter = nn.Parameter(values, requires_grad=not frozen)
            blocks = getattr(self, f"_{name}")
            blocks.append(parameter)

    def take_(self: Self, other: Self) -> Self:
        """Take the values and frames of a mixture of the same blocks.

        An optimizer keeps the parameters it knows.
        """
        pairs = zip(self.parameters(), other.parameters())
        for mine, theirs in pairs:
            mine.data.copy_(theirs.data)
        if self.covariance is None or self.covariance != other.covariance:
            self._set_frames(other.frames)
        return self

    def freeze_old_(self: Self) -> Self:
        """Stop learning every block but the newest."""
        for block in self.blocks()[:-1]:
            for parameter in block.values():
                parameter.requires_grad_(False)
        for covariance in list(self._covariances)[:-1]:
            covariance.requires_grad_(False)
        return self

    def allocate_(
        self: Self,
        sizes: Sequence[int],
        *,
        frames: bool = False,
        covariance: tuple[str, int] | None = None,
    ) -> Self:
        """Make room for blocks of the given sizes, and for frames.

        `load_state_dict` is to fill it.

        Args:
            sizes: Classes of each block.
            frames: Whether there are frames that are not learned.
            covariance: Kind and rank of covariances that are.
        """
        for n in sizes:
            shapes = self._shapes(n)
            block = {name: torch.zeros(shapes[name]) for name in NAMES}
            self._append(block)
        if frames:
            n = sum(sizes)
            weight = torch.zeros(n, self.dim, self.dim)
            bias = torch.zeros(n, self.dim)
            self._set_frames(Frames(weight, bias))
        if covariance is not None:
            self._learn_covariances(*covariance)
        return self

    def extra_repr(self) -> str:
        sizes = [str(len(block)) for block in self._mu]
        facts = [
            f"classes={'+'.join(sizes) or '0'}",
            f"components={self.n_components}",
            f"dim={self.dim}",
        ]
        if self.covariance is not None:
            facts.append(f"covariance={self.covariance[0]}")
        elif self.is_framed:
            facts.append("frames=True")
        return ", ".join(facts)
