"""Base density of the flow: a hierarchical Gaussian mixture that grows by classes."""

__all__ = ["Mixture"]

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cl_flow.model.frames import Frames
from cl_flow.model.placement import PLACEMENTS

NAMES = ("mu", "delta", "phi", "psi")


class Mixture(nn.Module):
    r"""Class-conditional Gaussian mixture with unit covariance over latents z (N, D).

    Class k has the main center `mu[k]` and, around it, the offsets `delta[k]`; its
    first component is the main center itself:

    $$p(z|k) = \sum_{m < M} \mathrm{softmax}(\psi_k)_m \,
      \mathcal N(z; \mu_k + \delta_{km}, I), \quad \delta_{k0} = 0.$$

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

    Example:
        >>> mixture = Mixture(6, n_components=4).expand(3)
        >>> larger = mixture.expand(2, init="orthogonal")
        >>> larger.components().shape
        torch.Size([5, 4, 6])
        >>> torch.equal(larger.mu[:3], mixture.mu)
        True
        >>> larger.log_prob_each(torch.zeros(8, 6)).shape
        torch.Size([8, 5])
    """

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
        """Parameters of each expansion, oldest first: `mu`, `delta`, `phi`, `psi`."""
        columns = (self._mu, self._delta, self._phi, self._psi)
        return [dict(zip(NAMES, block)) for block in zip(*columns)]

    def components(self, *, detach_mu: bool = False) -> Tensor:
        """All component centers (K, M, D).

        With `detach_mu` the gradient reaches the offsets only.
        """
        mu = self.mu.detach() if detach_mu else self.mu
        main = mu[:, None]
        return torch.cat([main, main + self.delta], dim=1)

    def replace(self, **values: Tensor) -> "Mixture":
        """A copy with other values of `mu`, `delta`, `phi` or `psi`.

        They come in the shapes that these have; blocks stay.
        """
        other = copy.deepcopy(self)
        for name, rows in values.items():
            expected = tuple(getattr(self, name).shape)
            if rows.shape != expected:
                raise ValueError(
                    f"Expected {name} of shape {expected}; got {tuple(rows.shape)}."
                )
            parameters = [block[name] for block in other.blocks()]
            pieces = rows.split([len(parameter) for parameter in parameters])
            for parameter, piece in zip(parameters, pieces):
                parameter.data = piece.detach().to(parameter).clone()
        return other

    def subset(self, classes: Tensor) -> "Mixture":
        """The given classes alone (n,), in one block, with the bits they have here."""
        other = Mixture(self.dim, n_components=self.n_components)
        other._append({name: getattr(self, name)[classes] for name in NAMES})
        if self.frames is not None:
            other._set_frames(self.frames.subset(classes))
        return other

    # ---- frames

    @property
    def frames(self) -> Frames | None:
        """Weights W (K, D, D) and biases b (K, D) of the frames.

        None where every class looks at z as it is.
        """
        if self._frame_weight is None:
            return None
        return Frames(self._frame_weight, self._frame_bias)

    def framed(self, weight: Tensor, bias: Tensor) -> "Mixture":
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
        framed._set_frames(frames.copy())
        return framed

    def _set_frames(self, frames: Frames | None) -> None:
        self._frame_weight, self._frame_bias = frames or (None, None)

    # ---- densities

    @property
    def _log_normalizer(self) -> float:
        return 0.5 * self.dim * math.log(2 * math.pi)

    def log_kernel(self, z: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """ℓ_k = −½‖z − mu_k‖² of every class, or of the given ones (N, K).

        The Gaussian constant is left out. In a frame it is −½‖u − mu_k‖² + log|det
        W_k|.
        """
        if self.frames is None:
            mu = self.mu if classes is None else self.mu[classes]
            return _log_kernel(z, mu)
        ids = range(self.n_classes) if classes is None else classes.tolist()
        return self._log_kernel_in_frames(z, ids)

    def _log_kernel_in_frames(self, z: Tensor, classes: Iterable[int]) -> Tensor:
        mu = self.mu
        frames = self.frames
        volume = frames.log_volume
        columns = []
        for k in classes:
            square = (frames.of_class(z, k) - mu[k]).square().sum(-1)
            columns.append(-0.5 * square + volume[k])
        return torch.stack(columns, dim=1)

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """log p(z | y) (N,) of latents under the components of their given classes.

        Args:
            z: Latents (N, D).
            y: Class ids (N,), or (B,) with N a multiple of B: N/B consecutive latents
                then share a class.
        """
        log_kernel = self.log_kernel_within(z, y)
        return log_kernel.logsumexp(-1).flatten() - self._log_normalizer

    def log_kernel_within(
        self, z: Tensor, y: Tensor, *, detach_mu: bool = False
    ) -> Tensor:
        """−½‖z − mu_y − delta_ym‖² + log softmax(psi_y)_m (B, N/B, M).

        Only the given class is ever computed. In a frame it is that of u, plus log|det
        W_y|.
        """
        z = z.reshape(len(y), -1, self.dim)
        log_weight = self.psi.log_softmax(-1)[y][:, None]
        if self.frames is not None:
            z = self.frames.of_images(z, y)
            log_weight = log_weight + self.frames.log_volume[y][:, None, None]
        centers = self.components(detach_mu=detach_mu)[y]
        return _log_kernel(z, centers) + log_weight

    def log_prob_each(self, z: Tensor) -> Tensor:
        """log p(z | k) (N, K) of latents (N, D) under every class."""
        if self.frames is not None:
            classes = torch.arange(self.n_classes, device=z.device)
            return torch.stack([self.log_prob(z, k[None]) for k in classes], dim=1)
        log_kernel = _log_kernel(z, self.components().flatten(0, 1))
        log_kernel = log_kernel.view(len(z), self.n_classes, self.n_components)
        log_joint = log_kernel + self.psi.log_softmax(-1)
        return log_joint.logsumexp(-1) - self._log_normalizer

    def negentropy(self, z: Tensor, *, classes: Tensor | None = None) -> Tensor:
        """Σ_k p_k log p_k (N,) of the class posterior p = softmax(ℓ).

        0 is certain, −ln K knows nothing.

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
        kept, new = PLACEMENTS[init](self.mu.detach(), n, data, generator)
        grown = Mixture(self.dim, n_components=self.n_components)
        blocks = self.blocks()
        old = kept.split([len(block["mu"]) for block in blocks])
        for block, mu in zip(blocks, old):
            grown._append({**block, "mu": mu}, frozen=not block["mu"].requires_grad)
        grown._append(self._fresh_block(new, generator))
        if self.frames is not None:
            grown._set_frames(self.frames.extend(n))
        return grown

    def _fresh_block(
        self, mu: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        n = len(mu)
        shape = (n, self.n_components - 1, self.dim)
        delta = torch.randn(shape, generator=generator, dtype=mu.dtype)
        return {
            "mu": mu,
            "delta": delta.to(mu.device),
            "phi": mu.new_zeros(n),
            "psi": mu.new_zeros(n, self.n_components),
        }

    def _append(self, block: dict[str, Tensor], *, frozen: bool = False) -> None:
        for name, values in block.items():
            parameter = nn.Parameter(values.detach().clone(), requires_grad=not frozen)
            getattr(self, f"_{name}").append(parameter)

    def take_(self, other: "Mixture") -> "Mixture":
        """Take the values and frames of a mixture of the same blocks.

        An optimizer keeps the parameters it knows.
        """
        for mine, theirs in zip(self.parameters(), other.parameters()):
            mine.data.copy_(theirs.data)
        self._set_frames(other.frames)
        return self

    def freeze_old_(self) -> "Mixture":
        """Stop learning every block but the newest."""
        for block in self.blocks()[:-1]:
            for parameter in block.values():
                parameter.requires_grad_(False)
        return self

    def allocate_(self, sizes: Sequence[int], *, frames: bool = False) -> "Mixture":
        """Make room for blocks of the given sizes, and for frames.

        `load_state_dict` is to fill it.
        """
        for n in sizes:
            block = {
                "mu": torch.zeros(n, self.dim),
                "delta": torch.zeros(n, self.n_components - 1, self.dim),
                "phi": torch.zeros(n),
                "psi": torch.zeros(n, self.n_components),
            }
            self._append(block)
        if frames:
            bias = torch.zeros(sum(sizes), self.dim)
            weight = torch.zeros(*bias.shape, self.dim)
            self._set_frames(Frames(weight, bias))
        return self

    def extra_repr(self) -> str:
        sizes = "+".join(str(len(block)) for block in self._mu) or "0"
        frames = "" if self.frames is None else ", frames=True"
        components = f"components={self.n_components}"
        return f"classes={sizes}, {components}, dim={self.dim}{frames}"


def _log_kernel(z: Tensor, centers: Tensor) -> Tensor:
    """−½‖z − center‖² (…, N, K) of latents (…, N, D) and centers (…, K, D)."""
    square = z.square().sum(-1, keepdim=True) + centers.square().sum(-1)[..., None, :]
    product = torch.addmm if z.ndim == 2 else torch.baddbmm
    return product(square, z, centers.mT, beta=-0.5)
