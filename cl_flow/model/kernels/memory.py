"""Memory of a pass through coupling blocks and back, cut into views once.

Cutting takes as long as many a product, and fresh pages do too, so a `Room` is made
once per shape and used again. A channel is a row of memory here, a patch a column.
"""

__all__ = ["PART", "Place", "Room", "Row", "STRIP", "Shape", "Way"]

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Patches at a time through a block on a CPU, where no gradient is to come: in memory
# used again at once.
STRIP = 2048
# Hidden units that lie in a core's own cache beside the codes that are added to them.
PART = 2**18


class Shape(NamedTuple):
    """Sizes of a pass through blocks.

    Args:
        size: Patches N.
        dim: Channels D.
        hidden: Hidden units of each subnet.
        cells: Rows of the table of codes.
    """

    size: int
    dim: int
    hidden: int
    cells: int


class Row(NamedTuple):
    """Three halves of the channels in a row, [m₂ | x₁ | x₂].

    A block reads [x₁ | x₂], and scales and rotates [m₂ | x₁]. Channels come first, so
    that each half is one piece of memory; x₁ serves both without being copied.

    Args:
        mixed2: m₂ = x₂ ⊙ e^{α tanh a} + t (⌊D/2⌋, N).
        x1: First half (⌈D/2⌉, N).
        x2: Second half (⌊D/2⌋, N).
        mixed: [m₂ | x₁] (D, N).
        x: [x₁ | x₂] (D, N).
        x1_rows: x₁ with patches first (N, ⌈D/2⌉).
    """

    mixed2: Tensor
    x1: Tensor
    x2: Tensor
    mixed: Tensor
    x: Tensor
    x1_rows: Tensor

    @classmethod
    def of(cls, row: Tensor, half: int) -> "Row":
        mixed2 = row[:half]
        x1 = row[half:-half]
        x2 = row[-half:]
        mixed = row[:-half]
        x = row[half:]
        return cls(mixed2, x1, x2, mixed, x, x1.T)


class Place(NamedTuple):
    """Views that one block works in, and what the gradient needs of it.

    Args:
        row: The block's input.
        z: Its output, the next one's input (D, N).
        hidden: Hidden units last, so that codes are gathered as whole rows (N, hidden).
        hidden_columns: Hidden units first (hidden, N).
        parts: Hidden units of whole grids beside the codes of their cells.
        affine: [tanh a | t] (2·⌊D/2⌋, N).
        tanh: tanh a (⌊D/2⌋, N).
        shift: t (⌊D/2⌋, N).
        growth: e^{α tanh a} (⌊D/2⌋, N).
        volume: Σ tanh a (N,).
    """

    row: Row
    z: Tensor
    hidden: Tensor
    hidden_columns: Tensor
    parts: list[tuple[Tensor, Tensor]]
    affine: Tensor
    tanh: Tensor
    shift: Tensor
    growth: Tensor
    volume: Tensor


class Way(NamedTuple):
    """Views that one block's gradient works in, from its output to its input.

    Args:
        after: Gradient of the block's output, as a row.
        before: Gradient of its input, as a row.
        da: Gradient of a (⌊D/2⌋, N).
        daffine: [da | m₂], as t adds to m₂; ten times the gradient of the subnet's
            output (2·⌊D/2⌋, N).
        daffine_rows: The same with patches first (N, 2·⌊D/2⌋).
        product: Of [m₂ | x₁] and its gradient (D, N).
        dhidden: Gradient of the hidden units (N, hidden).
        dhidden_columns: The same with units first (hidden, N).
    """

    after: Row
    before: Row
    da: Tensor
    daffine: Tensor
    daffine_rows: Tensor
    product: Tensor
    dhidden: Tensor
    dhidden_columns: Tensor

    @classmethod
    def of(
        cls,
        after: Tensor,
        before: Tensor,
        product: Tensor,
        dhidden: Tensor,
        half: int,
    ) -> "Way":
        daffine = before[: 2 * half]
        return cls(
            after=Row.of(after[half:], half),
            before=Row.of(before[half:], half),
            da=before[:half],
            daffine=daffine,
            daffine_rows=daffine.T,
            product=product,
            dhidden=dhidden,
            dhidden_columns=dhidden.T,
        )


class Room:
    """Memory for a pass through n blocks and back.

    Without a gradient to come, all strips of all blocks share the place of one. What is
    `kept` must still be as it was when the gradient is asked for, and autograd watches
    over it.

    Args:
        like: A tensor of the dtype and on the device wanted.
        n: Number of blocks.
        shape: Sizes of the pass.
        keep: Whether a gradient is to come.
        whole: Whether patches are whole grids, cell by cell.
    """

    def __init__(
        self,
        like: Tensor,
        n: int,
        shape: Shape,
        *,
        keep: bool,
        whole: bool,
    ) -> None:
        self.whole = whole
        self.half = shape.dim // 2
        in_strips = like.device.type == "cpu" and not keep
        strip = _strip(shape) if in_strips else shape.size
        self.slices = [
            slice(start, min(shape.size, start + strip))
            for start in range(0, max(1, shape.size), strip)
        ]
        slots = n if keep else 1
        self.kept = self._cut_kept(like, slots, shape, strip)
        self.rows, self.hidden, self.affine, self.growth = self.kept
        back = self._cut_passing(like, n, shape, keep=keep)
        first = self.rows[0]
        last = self.rows[n % len(self.rows)]
        self.x = Row.of(first, self.half).x
        self.z = Row.of(last, self.half).x
        self.places = [self._places(b) for b in range(n)]
        if keep:
            one, other, product, dhidden = back
            self.ways = (
                Way.of(one, other, product, dhidden, self.half),
                Way.of(other, one, product, dhidden, self.half),
            )

    def _cut_kept(
        self, like: Tensor, slots: int, shape: Shape, strip: int
    ) -> list[Tensor]:
        sizes = (
            (slots + 1, shape.dim + self.half, shape.size),
            (slots, strip, shape.hidden),
            (slots, 2 * self.half, strip),
            (slots, self.half, strip),
        )
        return _slab(like, sizes)

    def _cut_passing(
        self, like: Tensor, n: int, shape: Shape, *, keep: bool
    ) -> list[Tensor]:
        """Cut what no gradient reads, and return what the way back is made of."""
        sizes = [(n, shape.size), (shape.cells, shape.hidden)]
        if keep:
            wide = (shape.dim + 2 * self.half, shape.size)
            flat = (shape.dim, shape.size)
            units = (shape.size, shape.hidden)
            sizes += [wide, wide, flat, units]
        self.volumes, self.codes, *back = _slab(like, sizes)
        self.codes_columns = self.codes.T
        return back

    def _places(self, b: int) -> list[Place]:
        return [self._place(b, at) for at in self.slices]

    def _place(self, b: int, at: slice) -> Place:
        slot = b % len(self.hidden)
        before = self.rows[b % len(self.rows)]
        after = self.rows[(b + 1) % len(self.rows)]
        own = slice(0, at.stop - at.start)
        hidden = self.hidden[slot, own]
        affine = self.affine[slot][:, own]
        tanh, shift = affine.chunk(2)
        return Place(
            row=Row.of(before[:, at], self.half),
            z=Row.of(after[:, at], self.half).x,
            hidden=hidden,
            hidden_columns=hidden.T,
            parts=self._parts(hidden, at) if self.whole else [],
            affine=affine,
            tanh=tanh,
            shift=shift,
            growth=self.growth[slot][:, own],
            volume=self.volumes[b, at],
        )

    def _parts(self, hidden: Tensor, at: slice) -> list[tuple[Tensor, Tensor]]:
        """Hidden units (n, cells, hidden) of n grids beside the codes of their cells.

        Each part has as many as a core's cache takes.
        """
        first = at.start % len(self.codes)
        codes = self.codes[first:][: at.stop - at.start]
        grids = hidden.view(-1, *codes.shape)
        if hidden.device.type != "cpu":
            return [(grids, codes)]
        n_rows = max(1, PART // hidden.shape[1])
        n_grids = max(1, n_rows // len(codes))
        slices = [slice(i, i + n_rows) for i in range(0, len(codes), n_rows)]
        return [
            (group[:, rows], codes[rows])
            for rows in slices
            for group in grids.split(n_grids)
        ]


def _strip(shape: Shape) -> int:
    """About `STRIP` patches: whole grids or an equal part of one, where that can be."""
    fewest = -(-shape.cells // STRIP)
    most = 4 * shape.cells // STRIP
    fitting = (n for n in range(fewest, most + 1) if shape.cells % n == 0)
    n_parts = next(fitting, 1)
    n_grids = max(1, STRIP // shape.cells)
    strip = n_grids * shape.cells // n_parts
    return max(1, min(shape.size, strip))


def _slab(like: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Tensors one after the other in one piece of memory: few, large pages.

    Each begins at a multiple of 64 bytes.
    """
    lengths = [math.prod(shape) for shape in shapes]
    padded = [-(-length // 16) * 16 for length in lengths]
    pieces = torch.split(like.new_empty(sum(padded)), padded)
    return [
        piece[:length].view(shape)
        for piece, length, shape in zip(pieces, lengths, shapes)
    ]
