"""IUF: UniAD under a classifier that steers its attention, with room kept free.

The classifier, here a small transformer over the same tokens, is told the number of
classes before the first arrives.
"""

__all__ = ["IUF", "Compression", "Discriminator", "IUFConfig"]

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_flow.identity import settle
from cl_flow.model.reconstruction.transformer import FeedForward, Noise
from cl_flow.model.reconstruction.uniad import UniAD, UniADConfig


@dataclass(frozen=True)
class IUFConfig(UniADConfig):
    """Shape and training of IUF; the defaults are the published ones.

    Args:
        n_classes: Classes of the whole stream, known beforehand; None takes what the
            run counts.
        n_gate_heads: Heads of the discriminator.
        gate_hidden: Width of its feed-forward maps.
        compress: Weight of the semantic compression loss, on the first task alone.
        narrow: A direction is empty whose share of the singular values is below this
            share of 1/width.
        queue: Images whose mean features the loss looks at.
        attached: Whether the current batch's features have a gradient in it; as
            released they have none, and the loss does nothing.
        pull: Share of the last task's weights that is mixed in before each later step.
        later_lr: Rate of the later tasks' plain gradient descent.
        projected: Whether later gradients lose the directions that earlier tasks fill.

    Example:
        >>> IUFConfig(n_classes=15).n_classes
        15
    """

    window: int | None = 0
    epochs: int = 500
    batch_images: int = 24
    n_classes: int | None = None
    n_gate_heads: int = 4
    gate_hidden: int = 128
    compress: float = 10.0
    narrow: float = 0.1
    queue: int = 768
    attached: bool = True
    pull: float = 0.05
    later_lr: float = 1.0
    projected: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(
            self,
            n_classes=(1, math.inf),
            n_gate_heads=(1, math.inf),
            gate_hidden=(1, math.inf),
            compress=(0, math.inf),
            narrow=(0, math.inf),
            queue=(1, math.inf),
            pull=(0, 1),
            later_lr=(0, math.inf),
        )
        if self.width % self.n_gate_heads:
            raise ValueError(
                "Expected a width that is a multiple of the discriminator's heads; got "
                f"{self.width} for {self.n_gate_heads}."
            )


class RowBlock(nn.Module):
    """Layer that attends along the rows of an image alone; norms come first."""

    def __init__(self, width: int, n_heads: int, hidden: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens by row (B, side, side, width)."""
        parts = self.inward(self.norms[0](x)).chunk(3, dim=-1)
        heads = [
            part.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2) for part in parts
        ]
        found = F.scaled_dot_product_attention(*heads)
        x = x + self.outward(found.transpose(-3, -2).flatten(-2))
        return x + self.feed(self.norms[1](x))


class Discriminator(nn.Module):
    """Classifier of images whose layers say where the object is.

    The published one looks at pixels, for 50 times the cost of UniAD itself; this one
    looks at the tokens, and normalises each rather than the batch.

    Args:
        channels: Channels C of a token.
        config: Width, layers (as many as the encoder's), number of classes.
    """

    def __init__(self, channels: int, config: IUFConfig) -> None:
        super().__init__()
        width = config.width
        if config.n_classes is None:
            raise ValueError(
                "Expected the number of classes, which IUF is told beforehand: "
                "IUFConfig(n_classes=…); got None. A run counts its stream's."
            )
        self.inward = nn.Linear(channels, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            RowBlock(width, config.n_gate_heads, config.gate_hidden)
            for _ in range(config.n_encoder)
        )
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.n_classes)
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, n_classes), and each layer's map (B, S, width), detached."""
        side = math.isqrt(tokens.shape[1])
        x = self.norm(self.inward(tokens)).relu().unflatten(1, (side, side))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x.detach().flatten(1, 2))
        return self.head(x.mean((1, 2))), maps


class Compression:
    """Semantic compression loss: what is spent on directions that are almost empty.

    Σ {s_i : s_i < narrow/width} of the singular values s, divided by their sum, of the
    images' mean features: pressed to 0, it leaves directions free for later tasks.

    Args:
        config: Threshold, length of the queue, and whether the batch has a gradient.
        n_layers: Layers of the decoder that it is taken of.
    """

    def __init__(self, config: IUFConfig, n_layers: int) -> None:
        self.config = config
        self.queues: list[Tensor | None] = [None] * n_layers

    def __call__(self, features: Sequence[Tensor]) -> Tensor:
        """Mean over layers, of their features (B, S, width)."""
        terms = [self._of(i, x.mean(1)) for i, x in enumerate(features)]
        return torch.stack(terms).mean()

    def _of(self, i: int, means: Tensor) -> Tensor:
        now = means if self.config.attached else means.detach()
        earlier = self.queues[i]
        both = now if earlier is None else torch.cat([earlier, now])
        self.queues[i] = both.detach()[-self.config.queue :]
        shares = torch.linalg.svdvals(both)
        shares = shares / shares.sum()
        return shares[shares < self.config.narrow / means.shape[1]].sum()


class IUF(UniAD):
    """IUF on cached features: one network for all classes, whose number it is told.

    The queries of encoder layer l are (x + code) ⊙ map_l of the discriminator; there is
    no neighbour mask. After the first task, weights are pulled back and gradients
    projected (`cl_flow.training.reconstruction.LaterStep`).

    References:
        An incremental unified framework for small defect inspection (Tang et al., 2024)
        https://arxiv.org/abs/2312.08917

    Args:
        dims, grids, config, seed: As of UniAD; the config holds the number of classes.

    Raises:
        ValueError: No number of classes.
    """

    name = "iuf"
    Config = IUFConfig
    needs_boundaries = True
    config: IUFConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    moments: Tensor

    @classmethod
    def told(cls, config: Any, n_classes: int) -> Any:
        return replace(config, n_classes=config.n_classes or n_classes)

    def build(self) -> None:
        super().build()
        self.discriminator = Discriminator(sum(self.dims), self.config)
        # XᵀX of the images' mean outputs X of each layer, over all tasks.
        width = self.config.width
        n_layers = len(self.last_maps)
        self.register_buffer("moments", torch.zeros(n_layers, width, width))

    @property
    def last_maps(self) -> list[nn.Linear]:
        """Last linear map of every layer: those whose gradients are projected."""
        feeds = [m for m in self.net.modules() if isinstance(m, FeedForward)]
        return [feed.linear2 for feed in feeds]

    def expand_(self, categories: int | Sequence[str]) -> "IUF":
        """Remember the names of classes, as many as were told.

        Raises:
            ValueError: More than that.
        """
        names = self.new_names(categories)
        n = len(self.categories) + len(names)
        if n > (self.config.n_classes or 0):
            raise ValueError(
                f"Expected at most {self.config.n_classes} classes, as IUF was told "
                f"beforehand; got {n}."
            )
        super().expand_(names)
        return self

    def reconstructed(self, tokens: Tensor) -> Tensor:
        _, maps = self.discriminator(tokens)
        decoded = self.net.decode(self.net.encode(tokens, gates=maps))
        return self.net.outward(self.net.norm(decoded[-1]))

    def compression(self) -> Compression:
        """The loss of a task's steps, with an empty queue."""
        return Compression(self.config, max(1, len(self.net.decoder) - 1))

    def losses(
        self,
        x: Sequence[Tensor],
        y: Tensor,
        noise: Noise,
        compression: Compression | None = None,
    ) -> dict[str, Tensor]:
        """Terms of the training loss: reconstruction, class, and compression if any."""
        clean = self.tokens(x)
        logits, maps = self.discriminator(clean)
        given = clean if noise is None else self.jittered(clean, noise)
        decoded = self.net.decode(self.net.encode(given, noise, maps), noise)
        made = self.net.outward(self.net.norm(decoded[-1]))
        terms = {"mse": F.mse_loss(made, clean), "ce": F.cross_entropy(logits, y)}
        if compression is not None:
            inner = [self.net.norm(d) for d in decoded[: len(compression.queues)]]
            terms["scl"] = self.config.compress * compression(inner)
        return terms

    def routed(self, tokens: Tensor) -> Tensor:
        """Class ids (B,): the likeliest of those that have arrived."""
        logits, _ = self.discriminator(tokens)
        return logits[:, : len(self.categories)].argmax(1)

    @torch.no_grad()
    def gather_(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Add to the moments what images make of every layer.

        Args:
            batches: Per batch and level, patches (B, H·W, D).
        """
        means: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _, __, out: means.append(out.mean(1)))
            for layer in self.last_maps
        ]
        for x in batches:
            self.reconstructed(self.tokens(x))
            grams = torch.stack([mean.T @ mean for mean in means])
            self.moments += grams
            means.clear()
        for hook in hooks:
            hook.remove()

    def extra_repr(self) -> str:
        told = f"told {self.config.n_classes} classes beforehand"
        return f"{super().extra_repr()}, {told}"
