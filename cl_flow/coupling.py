"""The hot path: affine couplings, each followed by a scaled rotation, with their gradient written out."""

__all__ = ["Block", "couple", "reuse_memory"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


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
    x: Tensor, table: Tensor, index: Tensor | None, blocks: Sequence[Block], *, clamp: float
) -> tuple[Tensor, Tensor]:
    r"""All coupling blocks of a flow, forward.

    With x = [x₁, x₂], h = relu(inner·x₁ + position·c + inner_bias) and [a, t] = 0.1 (outer·h + outer_bias), a block is
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o), \quad
       \log|\det| = \textstyle\sum \alpha \tanh a + \sum \log s. $$
    Products make up nearly all of its time, forward and backward: the factor 0.1 and the scale are folded into weights,
    codes are projected once per cell instead of once per patch, what the gradient needs is kept once, channel by
    channel, and the rest happens in place. What is frozen gets no gradient, nor the time it takes. It can be
    differentiated once.

    Args:
        x: Patches (N, D).
        table: Position codes of the cells of a grid (S, P).
        index: Row of `table` for each patch (N,); None when the patches are whole grids (N a multiple of S).
        blocks: Weights of each block, of the same shapes.
        clamp: Bound α of the log scale.

    Returns:
        z (N, D) and the log-determinant (N,).
    """
    return _Couple.apply(x, table, index, clamp, *(weight for block in blocks for weight in block))


# ---- memory


class _Place(NamedTuple):
    """Where one block works: its input, what the gradient needs, and its output, each with the views that it takes."""

    x: Tensor  # channels first, so that a half of them is a whole piece of memory (D, N)
    x1: Tensor
    x2: Tensor
    x1_rows: Tensor
    hidden: Tensor  # units last, so that codes are gathered as whole rows (N, hidden)
    hidden_columns: Tensor
    affine: Tensor  # both halves of what the second layer says (2·⌊D/2⌋, N)
    tanh: Tensor  # tanh a (⌊D/2⌋, N)
    shift: Tensor  # t (⌊D/2⌋, N)
    growth: Tensor  # e^{α tanh a} (⌊D/2⌋, N)
    mixed: Tensor  # what is scaled and rotated (D, N)
    mixed1: Tensor
    mixed2: Tensor
    z: Tensor  # (D, N)


class _Gradient(NamedTuple):
    whole: Tensor
    first: Tensor
    second: Tensor
    rows: Tensor

    @classmethod
    def of(cls, whole: Tensor, split: int) -> "_Gradient":
        return cls(whole, whole[:split], whole[split:], whole.T)


class _Room:
    """Memory for a pass through n blocks and back, cut into views once: cutting takes as long as many a product.

    Without a gradient to come, all blocks share the place of one.
    """

    def __init__(self, like: Tensor, n: int, shape: tuple[int, int, int, int], *, keep: bool) -> None:
        size, dim, hidden, cells = shape
        half, slots = dim // 2, n if keep else 1
        self.split = dim - half
        self.states = like.new_empty(slots + 1, dim, size)
        self.hidden = like.new_empty(slots, size, hidden)
        self.affine = like.new_empty(n, 2 * half, size)
        self.growth = like.new_empty(slots, half, size)
        self.mixed = like.new_empty(slots, dim, size)
        self.codes = like.new_empty(cells, hidden)
        self.places = [self._place(b) for b in range(n)]
        if keep:
            self.dz, self.dx = (_Gradient.of(like.new_empty(dim, size), self.split) for _ in range(2))
            self.product, self.dhidden = like.new_empty(dim, size), like.new_empty(size, hidden)
            self.daffine = _Gradient.of(like.new_empty(2 * half, size), half)

    def _place(self, b: int) -> _Place:
        slot, split = b % len(self.hidden), self.split
        x, z = self.states[b % len(self.states)], self.states[(b + 1) % len(self.states)]
        hidden, affine, mixed = self.hidden[slot], self.affine[b], self.mixed[slot]
        before = x, x[:split], x[split:], x[:split].T, hidden, hidden.T, affine, *affine.chunk(2)
        return _Place(*before, self.growth[slot], mixed, mixed[:split], mixed[split:], z)

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """What must still be as it was when the gradient is asked for; autograd watches over it."""
        return self.states, self.hidden, self.affine, self.growth, self.mixed


_SHELF: dict[tuple, list[_Room]] | None = None


@contextmanager
def reuse_memory() -> Iterator[None]:
    """Within it a step works in the memory of the one before: fresh pages cost as much time as many a product."""
    global _SHELF
    before, _SHELF = _SHELF, {}
    try:
        yield
    finally:
        _SHELF = before


def _borrow(like: Tensor, n: int, shape: tuple[int, int, int, int], *, keep: bool) -> tuple[tuple, _Room]:
    key = n, shape, keep, like.dtype, like.device
    shelf = [] if _SHELF is None else _SHELF.setdefault(key, [])
    return key, shelf.pop() if shelf else _Room(like, n, shape, keep=keep)


def _give_back(key: tuple, room: _Room) -> None:
    """Lend it to the next step; who asks for this one's gradient again hears from autograd that it is gone."""
    shelf = [] if _SHELF is None else _SHELF.setdefault(key, [])
    if not any(room is other for other in shelf):
        shelf.append(room)


# ---- there and back


class _Couple(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, table: Tensor, index: Tensor | None, clamp: float, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        blocks = [Block(*weights[i : i + 8]) for i in range(0, len(weights), 8)]
        keep = any(ctx.needs_input_grad)
        key, room = _borrow(x, len(blocks), (*x.shape, len(blocks[0].inner_bias), len(table)), keep=keep)
        biases, raw, offsets, rotations = (torch.stack(column) for column in list(zip(*blocks))[4:])
        scale = F.softplus(raw, beta=0.5).mul_(0.1)
        folded, pushed = rotations * scale[:, None], rotations @ offsets[:, :, None]
        room.places[0].x.copy_(x.T)
        for at, block, *folds in zip(room.places, blocks, biases.mul_(0.1)[:, :, None], folded, pushed):
            _advance(at, block, *folds, room.codes, table, index, clamp)
        log_det = room.affine.chunk(2, dim=1)[0].sum((0, 1)).mul_(clamp).add_(scale.log().sum())
        z = room.places[-1].z.T.contiguous()
        if keep:
            ctx.save_for_backward(table, index, raw, scale, folded, *weights[::8], *weights[3::8], *room.kept)
            ctx.key, ctx.room, ctx.clamp = key, room, clamp
        else:
            _give_back(key, room)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dz: Tensor, dlog_det: Tensor) -> tuple[Tensor | None, ...]:
        table, index, raw, scale, folded, *used = ctx.saved_tensors
        n, room, needs = len(raw), ctx.room, ctx.needs_input_grad
        learns = [any(needs[i : i + 7]) for i in range(4, len(needs), 8)]
        first = 0 if needs[0] else learns.index(True)
        pull = dlog_det * (0.1 * ctx.clamp)
        pushes, products = dz.new_empty(2, n, dz.shape[1]).unbind()
        grads: list[tuple[Tensor | None, ...]] = [(None,) * 5] * n
        room.dz.whole.copy_(dz.T)
        for b in reversed(range(first, n)):
            at, inner, outer = room.places[b], used[b], used[n + b]
            torch.sum(room.dz.whole, 1, out=pushes[b])
            _retreat(at, room, outer, folded[b], pull, ctx.clamp, products[b])
            if learns[b]:
                grads[b] = _learn(at, room, table, index)
            if b > first or needs[0]:
                room.dx.first.addmm_(inner.T, room.dhidden.T)
            room.dz, room.dx = room.dx, room.dz
        dx = room.dz.rows.contiguous() if needs[0] else None
        _give_back(ctx.key, room)
        dscale = products.add_(dlog_det.sum()).div_(scale).mul_(torch.sigmoid(0.5 * raw).mul_(0.1))
        doffset = (folded.mT @ pushes[:, :, None])[:, :, 0].div_(scale)
        rows = ((*row, *pair, None) for row, *pair in zip(grads, dscale.unbind(), doffset.unbind()))
        return (dx, None, None, None, *(grad for row in rows for grad in row))


def _advance(
    at: _Place,
    block: Block,
    bias: Tensor,
    folded: Tensor,
    pushed: Tensor,
    codes: Tensor,
    table: Tensor,
    index: Tensor | None,
    clamp: float,
) -> None:
    torch.addmm(block.inner_bias, table, block.position.T, out=codes)
    if index is None:
        at.hidden.view(-1, *codes.shape).copy_(codes)
    else:
        torch.index_select(codes, 0, index, out=at.hidden)
    at.hidden.addmm_(at.x1_rows, block.inner.T).relu_()
    torch.addmm(bias, block.outer, at.hidden_columns, alpha=0.1, out=at.affine)
    torch.mul(at.tanh.tanh_(), clamp, out=at.growth).exp_()
    at.mixed1.copy_(at.x1)
    torch.addcmul(at.shift, at.x2, at.growth, out=at.mixed2)
    torch.addmm(pushed, folded, at.mixed, out=at.z)


def _retreat(
    at: _Place, room: _Room, outer: Tensor, folded: Tensor, pull: Tensor, clamp: float, product: Tensor
) -> None:
    """From the gradient of the output to those of the input, as far as its second half, and of the hidden layer."""
    dx, daffine = room.dx, room.daffine
    torch.mm(folded.T, room.dz.whole, out=dx.whole)
    torch.sum(torch.mul(dx.whole, at.mixed, out=room.product), 1, out=product)
    torch.mul(dx.second, 0.1, out=daffine.second)
    dx.second.mul_(at.growth)
    torch.addcmul(pull, dx.second, at.x2, value=0.1 * clamp, out=daffine.first)
    torch.ops.aten.tanh_backward.grad_input(daffine.first, at.tanh, grad_input=daffine.first)
    torch.mm(daffine.rows, outer, out=room.dhidden)
    torch.ops.aten.threshold_backward.grad_input(room.dhidden, at.hidden, 0, grad_input=room.dhidden)


def _learn(at: _Place, room: _Room, table: Tensor, index: Tensor | None) -> tuple[Tensor, ...]:
    """The gradients of inner, position, inner_bias, outer and outer_bias."""
    dhidden, daffine, dcodes = room.dhidden, room.daffine.whole, room.codes
    if index is None:
        torch.sum(dhidden.view(-1, *dcodes.shape), 0, out=dcodes)
    else:
        dcodes.zero_().index_add_(0, index, dhidden)
    dinner, dposition = (at.x1 @ dhidden).T, dcodes.T @ table
    return dinner, dposition, dcodes.sum(0), daffine @ at.hidden, daffine.sum(1)
