"""The base density of the flow: a hierarchical Gaussian mixture, one main center per
class, that grows by classes.
"""

__all__ = ["Mixture"]

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cl_flow.model.placement import PLACEMENTS


class Mixture(nn.Module):
    r"""Class-conditional Gaussian mixture with unit covariance over latents `z` of
    shape (N, D).

    Class k has the main center `mu[k]` and, around it, the offsets `delta[k]`; its
    first component is the main center itself:

    $$p(z|k) = \sum_{m < M} \mathrm{softmax}(\psi_k)_m \, \mathcal N(z; \mu_k + \delta_{km}, I), \delta_{k0} = 0.$$

    Every expansion is a `Parameter` of its own, so that what was learnt earlier can be
    frozen without touching what is new. A mixture starts with no classes; `expand`
    returns a larger one.

    A class may look at the latents through an affine *frame* of its own, $u = W_k z +
    b_k$; its density is then $p(u|k) \, |\det W_k|$. With $W_k$ the inverse root of a
    covariance, that is a Gaussian of any shape. Frames are never learnt by gradient;
    without them nothing is computed for them.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly
        detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        dim: Number of latent dimensions D.
        n_components: Components per class M, the main center included.
    """

    def __init__(self, dim: int, *, n_components: int = 10) -> None:
        super().__init__()
        if dim < 1 or n_components < 1:
            raise ValueError(
                f"Expected dim ≥ 1 and n_components ≥ 1; got {dim} and {n_components}."
            )
        self.dim, self.n_components = dim, n_components
        self._mu, self._delta = nn.ParameterList(), nn.ParameterList()
        self._phi, self._psi = nn.ParameterList(), nn.ParameterList()
        self.register_buffer("_frame_weight", None)
        self.register_buffer("_frame_bias", None)

    # ---- what it holds

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return sum(len(block) for block in self._mu)

    @property
    def mu(self) -> Tensor:
        """Main centers (K, D)."""
        return self._rows(self._mu, (0, self.dim))

    @property
    def delta(self) -> Tensor:
        """Offsets of the other components from their main center (K, M−1, D)."""
        return self._rows(self._delta, (0, self.n_components - 1, self.dim))

    @property
    def phi(self) -> Tensor:
        """Class logits (K,)."""
        return self._rows(self._phi, (0,))

    @property
    def psi(self) -> Tensor:
        """Component logits within each class (K, M)."""
        return self._rows(self._psi, (0, self.n_components))

    def _rows(self, blocks: Sequence[Tensor], empty: tuple[int, ...]) -> Tensor:
        if len(blocks) == 1:
            return blocks[0]
        return torch.cat(list(blocks)) if len(blocks) else torch.empty(empty)

    def blocks(self) -> list[dict[str, nn.Parameter]]:
        """The parameters of each expansion, oldest first: `mu`, `delta`, `phi`, `psi`."""
        names = ("mu", "delta", "phi", "psi")
        columns = (self._mu, self._delta, self._phi, self._psi)
        return [dict(zip(names, block)) for block in zip(*columns)]

    def components(self, *, detach_mu: bool = False) -> Tensor:
        """All component centers (K, M, D); with `detach_mu` the gradient reaches the
        offsets only.
        """
        mu = self.mu.detach() if detach_mu else self.mu
        return torch.cat([mu[:, None], mu[:, None] + self.delta], dim=1)

    def replace(self, **values: Tensor) -> "Mixture":
        """A copy with other values of `mu`, `delta`, `phi` or `psi`, in the shapes that
        these have; blocks stay.
        """
        other = copy.deepcopy(self)
        for name, rows in values.items():
            if rows.shape != getattr(self, name).shape:
                raise ValueError(
                    f"Expected {name} of shape {tuple(getattr(self, name).shape)}; got {tuple(rows.shape)}."
                )
            blocks = [block[name] for block in other.blocks()]
            for parameter, new in zip(
                blocks, rows.split([len(block) for block in blocks])
            ):
                parameter.data = new.detach().to(parameter).clone()
        return other

    def subset(self, classes: Tensor) -> "Mixture":
        """The given classes alone (n,), in one block, with the bits that they have
        here.
        """
        other = Mixture(self.dim, n_components=self.n_components)
        other._append(
            {
                name: getattr(self, name)[classes]
                for name in ("mu", "delta", "phi", "psi")
            }
        )
        if self.frames is not None:
            other._set_frames(*(values[classes].clone() for values in self.frames))
        return other

    # ---- frames

    @property
    def frames(self) -> tuple[Tensor, Tensor] | None:
        """Weights W (K, D, D) and biases b (K, D) of the frames; None where every class
        looks at z as it is.
        """
        return (
            None
            if self._frame_weight is None
            else (self._frame_weight, self._frame_bias)
        )

    def framed(self, weight: Tensor, bias: Tensor) -> "Mixture":
        """The same mixture, whose class k looks at u = W_k z + b_k in place of z;
        earlier frames are replaced.

        Args:
            weight: W (K, D, D), each invertible.
            bias: b (K, D).

        Raises:
            ValueError: Another shape, or a weight that is singular or not finite.
        """
        shape = (self.n_classes, self.dim, self.dim)
        if tuple(weight.shape) != shape or tuple(bias.shape) != shape[:2]:
            raise ValueError(
                f"Expected frames of shapes {shape} and {shape[:2]}; got {tuple(weight.shape)} and {tuple(bias.shape)}."
            )
        bad = (~_log_volume(weight).isfinite()).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"Expected frames of finite, non-zero volume; got none such for classes {bad}."
            )
        framed = copy.deepcopy(self)
        framed._set_frames(weight.detach().clone(), bias.detach().clone())
        return framed

    def _set_frames(self, weight: Tensor | None, bias: Tensor | None) -> None:
        self._frame_weight, self._frame_bias = weight, bias

    def _in_frame(self, z: Tensor, k: int) -> Tensor:
        return torch.addmm(self._frame_bias[k], z, self._frame_weight[k].T)

    # ---- densities

    def log_kernel(self, z: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """ℓ_k = −½‖z − mu_k‖² of every class, or of the given ones (N, K), without the
        Gaussian constant.

        In a frame it is −½‖u − mu_k‖² + log|det W_k|.
        """
        if self.frames is not None:
            return self._log_kernel_in_frames(
                z, range(self.n_classes) if classes is None else classes.tolist()
            )
        mu = self.mu if classes is None else self.mu[classes]
        square = z.square().sum(-1, keepdim=True) + mu.square().sum(-1)
        return torch.addmm(square, z, mu.T, beta=-0.5)

    def _log_kernel_in_frames(self, z: Tensor, classes: Iterable[int]) -> Tensor:
        mu, volume = self.mu, _log_volume(self._frame_weight)
        columns = [
            -0.5 * (self._in_frame(z, k) - mu[k]).square().sum(-1) + volume[k]
            for k in classes
        ]
        return torch.stack(columns, dim=1)

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """log p(z | y) (N,) of latents (N, D) under the components of their given
        classes.

        Args:
            z: Latents (N, D).
            y: Class ids (N,), or (B,) with N a multiple of B: N/B consecutive latents
                then share a class.
        """
        return self.log_kernel_within(z, y).logsumexp(
            -1
        ).flatten() - 0.5 * self.dim * math.log(2 * math.pi)

    def log_kernel_within(
        self, z: Tensor, y: Tensor, *, detach_mu: bool = False
    ) -> Tensor:
        """−½‖z − mu_y − delta_ym‖² + log softmax(psi_y)_m (B, N/B, M); only the given
        class is ever computed.

        In a frame it is that of u, plus log|det W_y|.
        """
        z, log_weight = (
            z.reshape(len(y), -1, self.dim),
            self.psi.log_softmax(-1)[y][:, None],
        )
        if self.frames is not None:
            z = torch.baddbmm(self._frame_bias[y][:, None], z, self._frame_weight[y].mT)
            log_weight = log_weight + _log_volume(self._frame_weight)[y][:, None, None]
        centers = self.components(detach_mu=detach_mu)[y]
        square = z.square().sum(-1, keepdim=True) + centers.square().sum(-1)[:, None]
        return torch.baddbmm(square, z, centers.mT, beta=-0.5) + log_weight

    def log_prob_each(self, z: Tensor) -> Tensor:
        """log p(z | k) (N, K) of latents (N, D) under every class."""
        if self.frames is not None:
            classes = torch.arange(self.n_classes, device=z.device)
            return torch.stack([self.log_prob(z, k[None]) for k in classes], dim=1)
        centers = self.components().flatten(0, 1)
        square = z.square().sum(-1, keepdim=True) + centers.square().sum(-1)
        kernel = torch.addmm(square, z, centers.T, beta=-0.5).view(
            len(z), self.n_classes, self.n_components
        )
        return (kernel + self.psi.log_softmax(-1)).logsumexp(
            -1
        ) - 0.5 * self.dim * math.log(2 * math.pi)

    def negentropy(self, z: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """Σ_k p_k log p_k (N,) of the class posterior p = softmax(ℓ); 0 is certain, −ln
        K knows nothing.

        Args:
            z: Latents (N, D).
            classes: Ids of the classes that enter the posterior; all of them by
                default. The others are never computed, so that a later expansion leaves
                the value to the bit.
        """
        log_p = self.log_kernel(z, classes=classes).log_softmax(-1)
        return (log_p.exp() * log_p).sum(-1)

    # ---- growing

    def expand(
        self,
        n: int,
        *,
        init: str = "tile",
        data: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> "Mixture":
        """A mixture with `n` more classes; the rows of the old classes keep their bits
        (but under `"retile"`).

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
        old = self.mu.detach()
        kept, new = place(old, n, data, generator)
        return self._with_block(kept, new, generator)

    def _with_block(
        self, kept: Tensor, new: Tensor, generator: torch.Generator | None
    ) -> "Mixture":
        grown = Mixture(self.dim, n_components=self.n_components)
        first = 0
        for block in self.blocks():
            rows = kept[first : first + len(block["mu"])]
            grown._append({**block, "mu": rows}, frozen=not block["mu"].requires_grad)
            first += len(rows)
        shape = (len(new), self.n_components - 1, self.dim)
        delta = torch.randn(shape, generator=generator, dtype=new.dtype).to(new.device)
        grown._append(
            {
                "mu": new,
                "delta": delta,
                "phi": new.new_zeros(len(new)),
                "psi": new.new_zeros(len(new), self.n_components),
            }
        )
        if self.frames is not None:
            eye = torch.eye(self.dim, dtype=new.dtype, device=new.device).expand(
                len(new), -1, -1
            )
            grown._set_frames(
                torch.cat([self._frame_weight, eye]),
                torch.cat([self._frame_bias, torch.zeros_like(new)]),
            )
        return grown

    def _append(self, block: dict[str, Tensor], *, frozen: bool = False) -> None:
        for name, values in block.items():
            parameter = nn.Parameter(values.detach().clone(), requires_grad=not frozen)
            getattr(self, f"_{name}").append(parameter)

    def take_(self, other: "Mixture") -> "Mixture":
        """Take the values and frames of a mixture of the same blocks; an optimizer
        keeps the parameters it knows.
        """
        for mine, theirs in zip(self.parameters(), other.parameters()):
            mine.data.copy_(theirs.data)
        self._set_frames(*(other.frames or (None, None)))
        return self

    def freeze_old_(self) -> "Mixture":
        """Stop learning every block but the newest."""
        for block in self.blocks()[:-1]:
            for parameter in block.values():
                parameter.requires_grad_(False)
        return self

    def allocate_(self, sizes: Sequence[int], *, frames: bool = False) -> "Mixture":
        """Make room for blocks of the given sizes, and for frames, to be filled by
        `load_state_dict`.
        """
        for n in sizes:
            self._append(
                {
                    "mu": torch.zeros(n, self.dim),
                    "delta": torch.zeros(n, self.n_components - 1, self.dim),
                    "phi": torch.zeros(n),
                    "psi": torch.zeros(n, self.n_components),
                }
            )
        if frames:
            self._set_frames(
                torch.zeros(sum(sizes), self.dim, self.dim),
                torch.zeros(sum(sizes), self.dim),
            )
        return self

    def extra_repr(self) -> str:
        sizes = "+".join(str(len(block)) for block in self._mu) or "0"
        frames = "" if self.frames is None else ", frames=True"
        return (
            f"classes={sizes}, components={self.n_components}, dim={self.dim}{frames}"
        )


def _log_volume(weight: Tensor) -> Tensor:
    """log|det W| (K,) of frames (K, D, D)."""
    return torch.linalg.slogdet(weight).logabsdet
