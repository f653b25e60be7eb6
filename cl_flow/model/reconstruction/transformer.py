"""UniAD's transformer: an encoder, and a decoder whose every layer asks queries anew.

All noise comes from a generator; where there is none, nothing is noisy.
"""

__all__ = ["Transformer", "neighbour_mask"]

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Noise = torch.Generator | None


def neighbour_mask(side: int, window: int) -> Tensor | None:
    """What attention adds to its logits (S, S): −∞ on a window around each token.

    The token itself is in its window, so that no token can copy itself.

    Args:
        side: Of the grid of tokens, S = side².
        window: Side of the window, odd; 0 is no mask.

    Raises:
        ValueError: An even window, or one under which some token sees none.
    """
    if not window:
        return None
    if window % 2 == 0 or window // 2 >= side // 2:
        raise ValueError(
            "Expected an odd window that leaves each token another to look at, "
            f"{max(1, 2 * (side // 2) - 1)} at most on a grid of {side}×{side}; got "
            f"{window}. window=0 takes the mask away."
        )
    at = torch.arange(side)
    near = (at[:, None] - at).abs() <= window // 2
    both = near[:, None, :, None] & near[None, :, None, :]
    masked = both.reshape(side**2, side**2)
    return torch.zeros(masked.shape).masked_fill(masked, -math.inf)


class Attention(nn.Module):
    """Attention of several heads; the position code is added to its queries and keys.

    Args:
        width: Channels of a token.
        n_heads: Heads, a divisor of the width.
        dropout: Share of the weights that are dropped under noise.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        # Queries, keys and values in one, and drawn as one.
        self.inward = nn.Parameter(torch.empty(3 * width, width))
        self.inward_bias = nn.Parameter(torch.zeros(3 * width))
        self.outward = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inward)

    def forward(
        self,
        asked: Tensor,
        memory: Tensor,
        code: Tensor,
        mask: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        """What each query finds in a memory (B, S, width).

        Args:
            asked: Queries, with their code (B, S, width), or (1, S, width) for all.
            memory: Tokens to look at, without code (B, S, width).
            code: Position code (S, width).
            mask: As `neighbour_mask` (S, S).
            noise: Source of what is dropped.
        """
        width = memory.shape[-1]
        of_queries, of_memory = self.inward.split((width, 2 * width))
        bias, biases = self.inward_bias.split((width, 2 * width))
        keys, values = F.linear(memory, of_memory, biases).chunk(2, dim=-1)
        keys = keys + F.linear(code, of_memory[:width])
        q, k, v = map(self._heads, (F.linear(asked, of_queries, bias), keys, values))
        found = self._attended(q.expand_as(k), k, v, mask, noise)
        return self.outward(found.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """Channels by head (B, heads, S, width / heads)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def _attended(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, noise: Noise
    ) -> Tensor:
        if noise is None or not self.dropout:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = (logits if mask is None else logits + mask).softmax(-1)
        return dropped(weights, self.dropout, noise) @ v


def dropped(x: Tensor, share: float, noise: Noise) -> Tensor:
    """A tensor with a share of its numbers at 0, and the others as much larger."""
    if noise is None or not share:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - share, generator=noise)
    return x * kept / (1 - share)


class FeedForward(nn.Module):
    """Two linear maps with a ReLU between them, token by token."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Noise) -> Tensor:
        return self.linear2(dropped(self.linear1(x).relu(), self.dropout, noise))


class Encoding(nn.Module):
    """Layer of the encoder: tokens attend to each other; norms come last."""

    def __init__(self, width: int, n_heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, n_heads, dropout)
        self.feed = FeedForward(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        code: Tensor,
        mask: Tensor | None,
        noise: Noise,
        gate: Tensor | None,
    ) -> Tensor:
        asked = x + code if gate is None else (x + code) * gate
        found = self.attention(asked, x, code, mask, noise)
        x = self.norms[0](x + dropped(found, self.dropout, noise))
        return self.norms[1](x + dropped(self.feed(x, noise), self.dropout, noise))


class Decoding(nn.Module):
    """Layer of the decoder: its queries look at the memory, then at what came before.

    What is added to are the queries, never the tokens: nothing of a token passes but
    through attention.
    """

    def __init__(
        self, n_tokens: int, width: int, n_heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(n_tokens, width))
        self.of_memory = Attention(width, n_heads, dropout)
        self.of_before = Attention(width, n_heads, dropout)
        self.feed = FeedForward(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = dropout

    def forward(
        self,
        before: Tensor,
        memory: Tensor,
        code: Tensor,
        mask: Tensor | None,
        noise: Noise,
    ) -> Tensor:
        # One row for all images: what does not depend on them is computed once.
        asked = (self.queries + code)[None]
        found = self.of_memory(asked, memory, code, mask, noise)
        x = self.norms[0](self.queries + dropped(found, self.dropout, noise))
        found = self.of_before(x + code, before, code, mask, noise)
        x = self.norms[1](x + dropped(found, self.dropout, noise))
        return self.norms[2](x + dropped(self.feed(x, noise), self.dropout, noise))


class Transformer(nn.Module):
    """Tokens (B, S, C) to tokens that are made of the others.

    References:
        A unified model for multi-class anomaly detection (You et al., 2022)
        https://arxiv.org/abs/2206.03687

    Args:
        channels: Channels C of a token outside.
        side: Of the grid of tokens, S = side².
        width: Channels within, an even number and a multiple of the heads.
        n_heads: Heads of each attention.
        hidden: Width of the feed-forward maps.
        n_encoder: Layers of the encoder.
        n_decoder: Layers of the decoder.
        window: Of the neighbour mask (`neighbour_mask`).
        dropout: Share of attention weights, hidden units and sums that are dropped.
    """

    mask: Tensor | None

    def __init__(
        self,
        channels: int,
        *,
        side: int,
        width: int,
        n_heads: int,
        hidden: int,
        n_encoder: int,
        n_decoder: int,
        window: int,
        dropout: float,
    ) -> None:
        super().__init__()
        shape = (width, n_heads, hidden, dropout)
        self.inward = nn.Linear(channels, width)
        self.rows = nn.Parameter(torch.rand(side, width // 2))
        self.columns = nn.Parameter(torch.rand(side, width // 2))
        self.encoder = nn.ModuleList(Encoding(*shape) for _ in range(n_encoder))
        self.decoder = nn.ModuleList(
            Decoding(side**2, *shape) for _ in range(n_decoder)
        )
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, channels)
        self.register_buffer("mask", neighbour_mask(side, window), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def code(self) -> Tensor:
        """Position code (S, width): that of the column beside that of the row."""
        side = len(self.rows)
        rows = self.rows[:, None].expand(-1, side, -1)
        columns = self.columns[None].expand(side, -1, -1)
        return torch.cat([columns, rows], dim=-1).flatten(0, 1)

    def encode(
        self, x: Tensor, noise: Noise = None, gates: Sequence[Tensor | None] = ()
    ) -> Tensor:
        """Memory (B, S, width) of tokens (B, S, C).

        Args:
            x: Tokens.
            noise: Source of what is dropped.
            gates: Factors of each layer's queries (B, S, width), if any.
        """
        memory = self.inward(x)
        code = self.code()
        for i, layer in enumerate(self.encoder):
            gate = gates[i] if gates else None
            memory = layer(memory, code, self.mask, noise, gate)
        return memory

    def decode(self, memory: Tensor, noise: Noise = None) -> list[Tensor]:
        """What each layer of the decoder makes of a memory (B, S, width)."""
        code = self.code()
        out = [memory]
        for layer in self.decoder:
            out.append(layer(out[-1], memory, code, self.mask, noise))
        return out[1:]

    def forward(self, x: Tensor, noise: Noise = None) -> Tensor:
        """Reconstruction (B, S, C) of tokens (B, S, C)."""
        decoded = self.decode(self.encode(x, noise), noise)
        return self.outward(self.norm(decoded[-1]))
