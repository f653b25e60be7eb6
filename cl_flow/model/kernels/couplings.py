"""The hot path: affine couplings, each followed by a scaled rotation, with their
gradient written out.
"""

__all__ = ["Block", "couple", "reuse_memory"]

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

STRIP = 2048  # patches at a time through a block on a CPU, where no gradient is to come: in memory used again at once
PART = (
    2**18
)  # hidden units that lie in a core's own cache beside the codes that are added to them


class Block(NamedTuple):
    """What one coupling block computes with.

    Args:
        inner: Weights of the first layer on the patch (hidden, ⌈D/2⌉).
        position: Weights of the first layer on the position code (hidden, P).
        inner_bias: Bias of the first layer (hidden,).
        outer: Weights of the second layer (2·⌊D/2⌋, hidden).
        outer_bias: Bias of the second layer (2·⌊D/2⌋,).
        scale: Parameter g of the scale s = softplus(g/2)/5 (D,).
        offset: Offset o (D,).
        rotation: Orthogonal matrix R (D, D), not learnt.
    """

    inner: Tensor
    position: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor
    scale: Tensor
    offset: Tensor
    rotation: Tensor


def couple(
    x: Tensor,
    table: Tensor,
    index: Tensor | None,
    blocks: Sequence[Block],
    *,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    r"""All coupling blocks of a flow, forward.

    With x = [x₁, x₂], h = relu(inner·x₁ + position·c + inner_bias) and [a, t] = 0.1
    (outer·h + outer_bias), a block is
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o), \quad
       \log|\det| = \textstyle\sum \alpha \tanh a + \sum \log s. $$
    Products make up nearly all of its time, forward and backward: the factor 0.1 and
    the scale are folded into weights, codes are projected once per row of their table,
    what the gradient needs is kept once, channel by channel, and the rest happens in
    place. What is frozen gets no gradient, nor the time it takes. It can be
    differentiated once.

    Args:
        x: Patches (N, D).
        table: Position codes of the cells of a grid (S, P).
        index: Row of `table` for each patch (N,); None when the patches are whole grids
            (N a multiple of S).
        blocks: Weights of each block, of the same shapes.
        clamp: Bound α of the log scale.

    Returns:
        z (N, D) and the log-determinant (N,).
    """
    weights = (weight for block in blocks for weight in block)
    return _Couple.apply(x, table, index, clamp, torch.is_grad_enabled(), *weights)


# ---- memory


class _Row(NamedTuple):
    """Three halves of the channels in a row, [m₂ | x₁ | x₂]: what a block reads, and
    what it scales and rotates.

    Channels come first, so that each half is one piece of memory; x₁ serves both
    without being copied.
    """

    mixed2: Tensor  # m₂ = x₂ ⊙ e^{α tanh a} + t (⌊D/2⌋, N)
    x1: Tensor
    x2: Tensor
    mixed: Tensor  # [m₂ | x₁] (D, N)
    x: Tensor  # [x₁ | x₂] (D, N)
    x1_rows: Tensor

    @classmethod
    def of(cls, row: Tensor, half: int) -> "_Row":
        m2, x1, x2 = row[:half], row[half:-half], row[-half:]
        return cls(m2, x1, x2, row[:-half], row[half:], x1.T)


class _Place(NamedTuple):
    """Where one block works, and what the gradient needs of it."""

    row: _Row
    z: Tensor  # (D, N)
    hidden: Tensor  # units last, so that codes are gathered as whole rows (N, hidden)
    hidden_columns: Tensor
    parts: list[
        tuple[Tensor, Tensor]
    ]  # hidden units of whole grids beside the codes of their cells, see `_parts`
    affine: Tensor  # [tanh a | t] (2·⌊D/2⌋, N)
    tanh: Tensor
    shift: Tensor
    growth: Tensor  # e^{α tanh a} (⌊D/2⌋, N)
    volume: Tensor  # Σ tanh a (N,)


class _Way(NamedTuple):
    """Where the gradient of one block works, from what comes after it to what comes
    before.
    """

    after: _Row
    before: _Row
    da: Tensor  # (⌊D/2⌋, N)
    daffine: Tensor  # [da | m₂], as t adds to m₂; ten times the gradient of what the subnet gives (2·⌊D/2⌋, N)
    daffine_rows: Tensor
    product: Tensor  # of [m₂ | x₁] and its gradient (D, N)
    dhidden: Tensor  # (N, hidden)
    dhidden_columns: Tensor

    @classmethod
    def of(
        cls, after: Tensor, before: Tensor, product: Tensor, dhidden: Tensor, half: int
    ) -> "_Way":
        rows, daffine = (
            (_Row.of(row[half:], half) for row in (after, before)),
            before[: 2 * half],
        )
        return cls(
            *rows, before[:half], daffine, daffine.T, product, dhidden, dhidden.T
        )


class _Room:
    """Memory for a pass through n blocks and back, cut into views once: cutting takes
    as long as many a product.

    Without a gradient to come, all strips of all blocks share the place of one. What is
    `kept` must still be as it was when the gradient is asked for, and autograd watches
    over it.
    """

    def __init__(
        self,
        like: Tensor,
        n: int,
        shape: tuple[int, int, int, int],
        *,
        keep: bool,
        whole: bool,
    ) -> None:
        size, dim, hidden, cells = shape
        self.whole = whole  # grids, cell by cell
        strip = size if keep or like.device.type != "cpu" else _strip(size, cells)
        self.slices = [
            slice(start, min(size, start + strip))
            for start in range(0, max(1, size), strip)
        ]
        self.half, slots, wide = dim // 2, n if keep else 1, (dim + dim // 2, size)
        kept = (
            (slots + 1, *wide),
            (slots, strip, hidden),
            (slots, 2 * self.half, strip),
            (slots, self.half, strip),
        )
        self.kept = self.rows, self.hidden, self.affine, self.growth = _slab(like, kept)
        back = (
            (*2 * [(dim + 2 * self.half, size)], (dim, size), (size, hidden))
            if keep
            else ()
        )
        self.volumes, self.codes, *back = _slab(
            like, ((n, size), (cells, hidden), *back)
        )
        self.codes_columns = self.codes.T
        self.x, self.z = (
            _Row.of(self.rows[b % (slots + 1)], self.half).x for b in (0, n)
        )
        self.places = [[self._place(b, at) for at in self.slices] for b in range(n)]
        if keep:
            self.ways = [
                _Way.of(*pair, *back[2:], self.half) for pair in (back[:2], back[1::-1])
            ]

    def _place(self, b: int, at: slice) -> _Place:
        slot, before, after = (
            b % len(self.hidden),
            b % len(self.rows),
            (b + 1) % len(self.rows),
        )
        row, following = (
            _Row.of(self.rows[r][:, at], self.half) for r in (before, after)
        )
        own = slice(0, at.stop - at.start)
        hidden, affine = self.hidden[slot, own], self.affine[slot][:, own]
        codes = self.codes[at.start % len(self.codes) :][: at.stop - at.start]
        parts = _parts(hidden, codes) if self.whole else []
        outputs = (
            affine,
            *affine.chunk(2),
            self.growth[slot][:, own],
            self.volumes[b, at],
        )
        return _Place(row, following.x, hidden, hidden.T, parts, *outputs)


def _strip(size: int, cells: int) -> int:
    """About `STRIP` patches, in equal parts of a grid of so many cells or in whole
    grids, as far as that can be.
    """
    parts = next(
        (
            n
            for n in range(-(-cells // STRIP), 4 * cells // STRIP + 1)
            if cells % n == 0
        ),
        1,
    )
    return max(1, min(size, max(1, STRIP // cells) * cells // parts))


def _parts(hidden: Tensor, codes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Hidden units (n, cells, hidden) of n grids beside the codes of their cells, as
    many as a core's cache takes.
    """
    grids, rows = hidden.view(-1, *codes.shape), max(1, PART // hidden.shape[1])
    if hidden.device.type != "cpu":
        return [(grids, codes)]
    slices = [slice(start, start + rows) for start in range(0, len(codes), rows)]
    return [
        (group[:, at], codes[at])
        for at in slices
        for group in grids.split(max(1, rows // len(codes)))
    ]


def _slab(like: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Tensors one after the other in one piece of memory, each from a multiple of 64
    bytes on: few, large pages.
    """
    sizes = [-(-math.prod(shape) // 16) * 16 for shape in shapes]
    return [
        part[: math.prod(s)].view(s)
        for part, s in zip(like.new_empty(sum(sizes)).split(sizes), shapes)
    ]


_SHELF: dict[tuple, list[_Room]] | None = None


@contextmanager
def reuse_memory() -> Iterator[None]:
    """Within it a step works in the memory of the one before: fresh pages cost as much
    time as many a product.
    """
    global _SHELF
    before, _SHELF = _SHELF, {}
    try:
        yield
    finally:
        _SHELF = before


def _borrow(
    like: Tensor, n: int, shape: tuple[int, int, int, int], **kind: bool
) -> tuple[tuple, _Room]:
    key = (
        n,
        shape,
        *kind.values(),
        like.dtype,
        like.device,
        torch.is_inference_mode_enabled(),
    )
    shelf = [] if _SHELF is None else _SHELF.setdefault(key, [])
    return key, shelf.pop() if shelf else _Room(like, n, shape, **kind)


def _give_back(key: tuple, room: _Room) -> None:
    """Lend it to the next step; who asks for this one's gradient again hears from
    autograd that it is gone.
    """
    shelf = [] if _SHELF is None else _SHELF.setdefault(key, [])
    if not any(room is other for other in shelf):
        shelf.append(room)


# ---- there and back


class _Couple(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        table: Tensor,
        index: Tensor | None,
        clamp: float,
        keep: bool,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        blocks = [Block(*weights[i : i + 8]) for i in range(0, len(weights), 8)]
        keep, split = keep and any(ctx.needs_input_grad), blocks[0].inner.shape[1]
        shape = *x.shape, len(blocks[0].inner_bias), len(table)
        key, room = _borrow(x, len(blocks), shape, keep=keep, whole=index is None)
        biases, raw, offsets, rotations = (
            torch.stack(column) for column in list(zip(*blocks))[4:]
        )
        scale = F.softplus(raw, beta=0.5).mul_(0.1)
        folded, pushed = (
            (rotations * scale[:, None]).roll(-split, 2),
            rotations @ offsets[:, :, None],
        )
        indices = [None if index is None else index[at] for at in room.slices]
        room.x.copy_(x.T)
        for places, block, *folds in zip(
            room.places, blocks, biases.mul_(0.1)[:, :, None], folded, pushed
        ):
            torch.addmm(block.inner_bias, table, block.position.T, out=room.codes)
            for at, i in zip(places, indices):
                _first_layer(at, block, room.codes, i)
                _rest(at, block, *folds, clamp)
        log_det = room.volumes.sum(0).mul_(clamp).add_(scale.log().sum())
        z = _rows(room.z)
        if keep:
            ctx.save_for_backward(
                table,
                index,
                raw,
                scale,
                folded,
                *weights[::8],
                *weights[3::8],
                *room.kept,
            )
            ctx.key, ctx.room, ctx.clamp = key, room, clamp
        else:
            _give_back(key, room)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, dz: Tensor, dlog_det: Tensor
    ) -> tuple[Tensor | None, ...]:
        table, index, raw, scale, folded, *used = ctx.saved_tensors
        n, room, needs, split = (
            len(raw),
            ctx.room,
            ctx.needs_input_grad,
            used[0].shape[1],
        )
        learns = [any(needs[i : i + 7]) for i in range(5, len(needs), 8)]
        first = 0 if needs[0] else learns.index(True)
        pull = dlog_det * ctx.clamp
        pushes, products = dz.new_empty(2, n, dz.shape[1]).unbind()
        unfold, push, product = folded.mT.unbind(), pushes.unbind(), products.unbind()
        grads: list[tuple[Tensor | None, ...]] = [(None,) * 5] * n
        way, other = room.ways
        way.after.x.copy_(dz.T)
        for b in reversed(range(first, n)):
            (at,), inner, outer = room.places[b], used[b], used[n + b]
            torch.sum(way.after.x, 1, out=push[b])
            _back(at, way, outer, unfold[b], pull, ctx.clamp, product[b])
            if learns[b]:
                grads[b] = _learn(at, way, outer, room, table, index)
            if b > first or needs[0]:
                way.before.x1.addmm_(inner.T, way.dhidden_columns)
            way, other = other, way
        dx = _rows(way.after.x) if needs[0] else None
        _give_back(ctx.key, room)
        slope = torch.sigmoid(0.5 * raw).mul_(0.1)
        dscale = products.roll(split, 1).add_(dlog_det.sum()).div_(scale).mul_(slope)
        doffset = (folded.mT @ pushes[:, :, None])[:, :, 0].roll(split, 1).div_(scale)
        rows = (
            (*row, *pair, None)
            for row, *pair in zip(grads, dscale.unbind(), doffset.unbind())
        )
        return (dx, None, None, None, None, *(grad for row in rows for grad in row))


def _rows(columns: Tensor) -> Tensor:
    """Patches first, in memory of their own."""
    return columns.T.clone(memory_format=torch.contiguous_format)


def _first_layer(at: _Place, block: Block, codes: Tensor, index: Tensor | None) -> None:
    if index is None:
        torch.mm(at.row.x1_rows, block.inner.T, out=at.hidden)
        for hidden, own in at.parts:
            hidden.add_(own).relu_()
    else:
        torch.index_select(codes, 0, index, out=at.hidden)
        at.hidden.addmm_(at.row.x1_rows, block.inner.T).relu_()


def _rest(
    at: _Place, block: Block, bias: Tensor, folded: Tensor, pushed: Tensor, clamp: float
) -> None:
    torch.addmm(
        at.affine, block.outer, at.hidden_columns, beta=0, alpha=0.1, out=at.affine
    ).add_(bias)
    torch.mul(at.tanh.tanh_(), clamp, out=at.growth).exp_()
    torch.sum(at.tanh, 0, out=at.volume)
    torch.addcmul(at.shift, at.row.x2, at.growth, out=at.row.mixed2)
    torch.mm(folded, at.row.mixed, out=at.z).add_(pushed)


def _back(
    at: _Place,
    way: _Way,
    outer: Tensor,
    unfold: Tensor,
    pull: Tensor,
    clamp: float,
    product: Tensor,
) -> None:
    """From the gradient of z to those of the hidden layer, of its output, and of the
    input as far as it passes by.
    """
    row, before = at.row, way.before
    torch.mm(unfold, way.after.x, out=before.mixed)
    torch.sum(torch.mul(before.mixed, row.mixed, out=way.product), 1, out=product)
    torch.mul(before.mixed2, at.growth, out=before.x2)
    torch.addcmul(pull, before.x2, row.x2, value=clamp, out=way.da)
    torch.ops.aten.tanh_backward.grad_input(way.da, at.tanh, grad_input=way.da)
    torch.addmm(
        way.dhidden, way.daffine_rows, outer, beta=0, alpha=0.1, out=way.dhidden
    )
    torch.ops.aten.threshold_backward.grad_input(
        way.dhidden, at.hidden, 0, grad_input=way.dhidden
    )


def _learn(
    at: _Place,
    way: _Way,
    outer: Tensor,
    room: _Room,
    table: Tensor,
    index: Tensor | None,
) -> tuple[Tensor, ...]:
    """The gradients of inner, position, inner_bias, outer and outer_bias."""
    dcodes = room.codes
    if index is None:
        torch.sum(way.dhidden.view(-1, *dcodes.shape), 0, out=dcodes)
    else:
        dcodes.zero_().index_add_(0, index, way.dhidden)
    dinner, dposition = (at.row.x1 @ way.dhidden).T, room.codes_columns @ table
    douter = torch.addmm(outer, way.daffine, at.hidden, beta=0, alpha=0.1)
    return dinner, dposition, dcodes.sum(0), douter, way.daffine.sum(1).mul_(0.1)
