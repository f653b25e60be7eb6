"""UniAD: features of all levels as tokens, each made of those far from it."""

__all__ = ["UniAD", "UniADConfig", "on_grid"]

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_flow.devices import seeded
from cl_flow.identity import settle
from cl_flow.model.base import Model
from cl_flow.model.reconstruction.transformer import Noise, Transformer


@dataclass(frozen=True)
class UniADConfig:
    """Shape and training of UniAD; the defaults are the published ones.

    Args:
        side: Of the grid of tokens that every level is brought to.
        width: Channels of a token within.
        n_heads: Heads of each attention.
        hidden: Width of the feed-forward maps.
        n_encoder: Layers of the encoder.
        n_decoder: Layers of the decoder.
        window: Side of the neighbour mask in tokens, odd; 0 is no mask, None the
            largest odd number that is half the grid or less (published: 7 of 14).
        jitter: Standard deviation of the noise on input tokens, in root mean squares of
            the token. The published 20‖f‖/C is 20/√C of them, with C = 272.
        dropout: Share of attention weights, hidden units and sums that are dropped.
        epochs: Passes over a task's images.
        batch_images: Images per step.
        lr: Rate of AdamW.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip: Largest norm of a step's gradient.
        decay_at: Share of the steps after which the rate falls.
        decay: To this share of it.

    Example:
        >>> UniADConfig().masked, UniADConfig(window=0).masked
        (7, 0)
    """

    side: int = 14
    width: int = 256
    n_heads: int = 8
    hidden: int = 1024
    n_encoder: int = 4
    n_decoder: int = 4
    window: int | None = None
    jitter: float = 20 / math.sqrt(272)
    dropout: float = 0.1
    epochs: int = 1000
    batch_images: int = 8
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip: float = 0.1
    decay_at: float = 0.8
    decay: float = 0.1

    # What `cl_flow.training` asks beside: attention sees whole images, from the start.
    batch_patches: ClassVar[None] = None
    inter_only: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        settle(
            self,
            side=(2, math.inf),
            width=(2, math.inf),
            n_heads=(1, math.inf),
            hidden=(1, math.inf),
            n_encoder=(1, math.inf),
            n_decoder=(1, math.inf),
            window=(0, math.inf),
            jitter=(0, math.inf),
            dropout=(0, 1 - 1e-6),
            epochs=(0, math.inf),
            batch_images=(1, math.inf),
            betas=(0, 1),
            clip=(0, math.inf),
            decay_at=(0, 1),
            decay=(0, 1),
        )
        if self.width % self.n_heads or self.width % 2:
            raise ValueError(
                "Expected an even width that is a multiple of the heads; got "
                f"{self.width} for {self.n_heads} heads."
            )

    @property
    def masked(self) -> int:
        """Side of the neighbour mask, that of None too."""
        if self.window is not None:
            return self.window
        half = self.side // 2
        return half - 1 + half % 2


class UniAD(Model):
    """UniAD on cached features: a transformer that cannot look at a token itself.

    Levels are pooled or interpolated to one grid and concatenated. A token is anomalous
    by how far its reconstruction from distant tokens lies from it.

    References:
        A unified model for multi-class anomaly detection (You et al., 2022)
        https://arxiv.org/abs/2206.03687

    Args:
        dims: Channels D of each level; C is their sum.
        grids: (height, width) of each level.
        config: Shape of the transformer.
        seed: Everything random in the model comes from it.

    Example:
        >>> config = UniADConfig(side=4, width=8, n_heads=2, hidden=16)
        >>> model = UniAD([6, 3], [(4, 4), (2, 2)], config).expand_(["bottle"])
        >>> tokens = model.tokens([torch.ones(2, 16, 6), torch.ones(2, 4, 3)])
        >>> tokens.shape, model.residuals(tokens).shape
        (torch.Size([2, 16, 9]), torch.Size([2, 16]))
    """

    name = "uniad"
    Config: ClassVar[type] = UniADConfig
    per_class = "image learned"
    whole_images = True
    config: UniADConfig

    def __init__(
        self,
        dims: Sequence[int],
        grids: Sequence[tuple[int, int]],
        config: UniADConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(dims, grids, config or self.Config(), seed=seed)
        self.sizes: tuple[int, ...] = ()  # classes of each expansion
        with seeded(seed):
            self.build()

    def build(self) -> None:
        """Draw the weights."""
        c = self.config
        self.net = Transformer(
            sum(self.dims),
            side=c.side,
            width=c.width,
            n_heads=c.n_heads,
            hidden=c.hidden,
            n_encoder=c.n_encoder,
            n_decoder=c.n_decoder,
            window=c.masked,
            dropout=c.dropout,
        )

    def expand_(self, categories: int | Sequence[str]) -> "UniAD":
        """Remember the names of classes that arrive; nothing is added for them."""
        names = self.new_names(categories)
        self.categories += names
        self.sizes += (len(names),)
        return self

    # ---- tokens

    def tokens(self, x: Sequence[Tensor]) -> Tensor:
        """Tokens (B, S, C) of whole images, in the model's precision and place.

        Args:
            x: Per level the patches (B, H·W, D), or one after the other (B·H·W, D).
        """
        where = self.net.rows
        parts = [
            on_grid(level.to(where), grid, self.config.side)
            for level, grid in zip(x, self.grids, strict=True)
        ]
        return torch.cat(parts, dim=-1)

    def jittered(self, tokens: Tensor, noise: torch.Generator) -> Tensor:
        """Tokens f + N(0, I)·jitter·‖f‖/√C."""
        size = tokens.square().mean(-1, keepdim=True).sqrt()
        drawn = torch.empty_like(tokens).normal_(generator=noise)
        return tokens + self.config.jitter * size * drawn

    def reconstructed(self, tokens: Tensor) -> Tensor:
        """Reconstruction (B, S, C) of tokens (B, S, C)."""
        return self.net(tokens)

    def residuals(self, tokens: Tensor) -> Tensor:
        """Norm (B, S) of what a reconstruction lacks."""
        return (self.reconstructed(tokens) - tokens).norm(dim=-1)

    def losses(self, x: Sequence[Tensor], y: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Terms of the training loss, weighted, by name.

        Args:
            x: Per level the patches of whole images.
            y: Class ids (B,).
            noise: Source of jitter and dropout; without it there is neither.
        """
        clean = self.tokens(x)
        given = clean if noise is None else self.jittered(clean, noise)
        return {"mse": F.mse_loss(self.net(given, noise), clean)}

    def routed(self, tokens: Tensor) -> Tensor:
        """Class ids (B,) that images are taken for.

        Raises:
            ValueError: Nothing in this model tells classes apart.
        """
        raise ValueError(
            f"Expected given='category' for {self.name}, which has nothing that tells "
            "classes apart; got None."
        )

    def gather_(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Keep what later tasks need of a task's images: here nothing.

        Args:
            batches: Per batch and level, patches (B, H·W, D).
        """

    # ---- on disk

    def growth(self) -> dict[str, Any]:
        """Its name, and the classes of each expansion."""
        return {"model": self.name, "sizes": self.sizes}

    def grow_(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.sizes = tuple(facts["sizes"])


def on_grid(x: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Patches brought to a grid of side×side: pooled from a larger, else interpolated.

    Args:
        x: Patches (B, H·W, D), or one after the other (B·H·W, D).
        grid: (H, W).
        side: Side of the new grid.

    Returns:
        Tokens (B, side², D).
    """
    height, width = grid
    images = x.reshape(-1, height, width, x.shape[-1])
    if grid != (side, side):
        images = images.permute(0, 3, 1, 2)
        if min(grid) >= side:
            images = F.adaptive_avg_pool2d(images, side)
        else:
            images = F.interpolate(images, (side, side), mode="bilinear")
        images = images.permute(0, 2, 3, 1)
    return images.flatten(1, 2)
