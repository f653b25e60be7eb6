"""Affine couplings and scaled rotations, with their gradient written out.

The definition is `cl_flow.model.coupling.Coupling`; this is the same in less time.
"""

__all__ = ["Block", "couple", "reuse_memory"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from cl_flow.model.kernels.choice import differentiable_once
from cl_flow.model.kernels.folds import (
    Block,
    Folds,
    blocks_of,
    learners,
    offset_gradient,
    patches_first,
    scale_gradient,
)
from cl_flow.model.kernels.gpu_couplings import couple_on_gpu, suits
from cl_flow.model.kernels.memory import Place, Room, Shape, Way
from cl_flow.model.kernels.rows import RowSums


def couple(
    x: Tensor,
    table: Tensor,
    index: Tensor | None,
    blocks: Sequence[Block],
    *,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    r"""All coupling blocks of a flow, forward; differentiable once.

    With x = [x₁, x₂], h = relu(inner·x₁ + position·c + inner_bias) and [a, t] = 0.1
    (outer·h + outer_bias), a block is
    $$ z = R\,(s \odot [x_1,\; x_2 \odot e^{\alpha \tanh a} + t] + o), \quad
       \log|\det| = \textstyle\sum \alpha \tanh a + \sum \log s. $$
    Products make up nearly all of its time, forward and backward: the factor 0.1 and
    the scale are folded into weights, codes are projected once per row of their table,
    what the gradient needs is kept once, channel by channel, and the rest happens in
    place. What is frozen gets no gradient, nor the time it takes.

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
    if suits(x):
        return couple_on_gpu(x, table, index, blocks, clamp=clamp)
    keep = torch.is_grad_enabled()
    weights = (weight for block in blocks for weight in block)
    return _Couple.apply(x, table, index, clamp, keep, *weights)


# ---- memory

Shelf = dict[tuple, list[Room]]
_SHELF: ContextVar[Shelf | None] = ContextVar("rooms to use again", default=None)


@contextmanager
def reuse_memory() -> Iterator[None]:
    """Lend each step within the memory of the one before.

    Fresh pages cost as much time as many a product. Each thread has rooms of its own.
    """
    token = _SHELF.set({})
    try:
        yield
    finally:
        _SHELF.reset(token)


class _Loan(NamedTuple):
    """A room, and the place that it goes back to.

    It is noted when the room is lent: on a GPU, autograd asks for the gradient in a
    thread of its own.
    """

    room: Room
    shelf: list[Room] | None

    @classmethod
    def of(
        cls, like: Tensor, n: int, shape: Shape, *, keep: bool, whole: bool
    ) -> "_Loan":
        shelves = _SHELF.get()
        if shelves is None:
            return cls(Room(like, n, shape, keep=keep, whole=whole), None)
        inference = torch.is_inference_mode_enabled()
        key = (n, shape, keep, whole, like.dtype, like.device, inference)
        shelf = shelves.setdefault(key, [])
        room = shelf.pop() if shelf else Room(like, n, shape, keep=keep, whole=whole)
        return cls(room, shelf)

    def give_back(self) -> None:
        """Lend the room to the next step.

        Whoever asks for this step's gradient again hears from autograd that it is gone.
        """
        shelf = self.shelf
        if shelf is not None and not any(self.room is other for other in shelf):
            shelf.append(self.room)


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
        blocks = blocks_of(weights)
        keep = keep and any(ctx.needs_input_grad)
        whole = index is None
        hidden = len(blocks[0].inner_bias)
        shape = Shape(*x.shape, hidden, len(table))
        loan = _Loan.of(x, len(blocks), shape, keep=keep, whole=whole)
        room = loan.room
        folds = Folds.of(blocks)
        room.x.copy_(x.T)
        _pass(room, blocks, folds, table, index, clamp)
        log_scale = folds.scale.log().sum()
        volume = room.volumes.sum(0)
        log_det = volume.mul_(clamp).add_(log_scale)
        z = patches_first(room.z)
        if not keep:
            loan.give_back()
            return z, log_det
        inners = [block.inner for block in blocks]
        outers = [block.outer for block in blocks]
        folded = (folds.raw, folds.scale, folds.turn)
        ctx.save_for_backward(table, index, *folded, *inners, *outers, *room.kept)
        ctx.loan = loan
        ctx.clamp = clamp
        return z, log_det

    @staticmethod
    @differentiable_once
    def backward(
        ctx: FunctionCtx, dz: Tensor, dlog_det: Tensor
    ) -> tuple[Tensor | None, ...]:
        table, index, raw, scale, turn, *used = ctx.saved_tensors
        n = len(raw)
        inners = used[:n]
        outers = used[n : 2 * n]
        room = ctx.loan.room
        of_input, learns, first = learners(ctx.needs_input_grad)
        pull = dlog_det * ctx.clamp
        pushes, products = dz.new_empty(2, n, dz.shape[1]).unbind()
        push = pushes.unbind()
        product = products.unbind()
        turn_back = turn.mT.unbind()
        by_row = None if index is None else RowSums(index, len(table), dz)
        grads: list[tuple[Tensor | None, ...]] = [(None,) * 5] * n
        way, other = room.ways
        way.after.x.copy_(dz.T)
        for b in reversed(range(first, n)):
            (at,) = room.places[b]
            torch.sum(way.after.x, 1, out=push[b])
            _back(at, way, outers[b], turn_back[b], pull, ctx.clamp, product[b])
            if learns[b]:
                grads[b] = _learn(at, way, outers[b], room, table, by_row)
            if b > first or of_input:
                way.before.x1.addmm_(inners[b].T, way.dhidden_columns)
            way, other = other, way
        dx = patches_first(way.after.x) if of_input else None
        ctx.loan.give_back()
        split = inners[0].shape[1]
        dscale = scale_gradient(products, dlog_det, raw, scale, split)
        doffset = offset_gradient(pushes, turn, scale, split)
        of_weights = []
        for learnt, *others in zip(grads, dscale.unbind(), doffset.unbind()):
            of_weights += [*learnt, *others, None]
        return dx, None, None, None, None, *of_weights


def _pass(
    room: Room,
    blocks: Sequence[Block],
    folds: Folds,
    table: Tensor,
    index: Tensor | None,
    clamp: float,
) -> None:
    """All patches through all blocks, strip by strip within each."""
    indices = [None if index is None else index[at] for at in room.slices]
    steps = zip(room.places, blocks, folds.bias, folds.turn, folds.push)
    for places, block, bias, turn, push in steps:
        torch.addmm(block.inner_bias, table, block.position.T, out=room.codes)
        for at, rows in zip(places, indices):
            _first_layer(at, block, room.codes, rows)
            _rest(at, block, bias, turn, push, clamp)


def _first_layer(
    at: Place,
    block: Block,
    codes: Tensor,
    index: Tensor | None,
) -> None:
    if index is None:
        torch.mm(at.row.x1_rows, block.inner.T, out=at.hidden)
        for hidden, own in at.parts:
            hidden.add_(own).relu_()
    else:
        torch.index_select(codes, 0, index, out=at.hidden)
        at.hidden.addmm_(at.row.x1_rows, block.inner.T).relu_()


def _rest(
    at: Place,
    block: Block,
    bias: Tensor,
    turn: Tensor,
    push: Tensor,
    clamp: float,
) -> None:
    row = at.row
    affine = at.affine
    hidden = at.hidden_columns
    torch.addmm(affine, block.outer, hidden, beta=0, alpha=0.1, out=affine)
    affine.add_(bias)
    torch.mul(at.tanh.tanh_(), clamp, out=at.growth).exp_()
    torch.sum(at.tanh, 0, out=at.volume)
    torch.addcmul(at.shift, row.x2, at.growth, out=row.mixed2)
    torch.mm(turn, row.mixed, out=at.z).add_(push)


def _back(
    at: Place,
    way: Way,
    outer: Tensor,
    turn_back: Tensor,
    pull: Tensor,
    clamp: float,
    product: Tensor,
) -> None:
    """Take the gradient of z to that of the hidden layer and of its output.

    That of the input is done as far as it passes by the subnet.
    """
    row = at.row
    before = way.before
    dhidden = way.dhidden
    torch.mm(turn_back, way.after.x, out=before.mixed)
    torch.mul(before.mixed, row.mixed, out=way.product)
    torch.sum(way.product, 1, out=product)
    torch.mul(before.mixed2, at.growth, out=before.x2)
    torch.addcmul(pull, before.x2, row.x2, value=clamp, out=way.da)
    torch.ops.aten.tanh_backward.grad_input(way.da, at.tanh, grad_input=way.da)
    torch.addmm(dhidden, way.daffine_rows, outer, beta=0, alpha=0.1, out=dhidden)
    relu_backward = torch.ops.aten.threshold_backward.grad_input
    relu_backward(dhidden, at.hidden, 0, grad_input=dhidden)


def _learn(
    at: Place,
    way: Way,
    outer: Tensor,
    room: Room,
    table: Tensor,
    by_row: RowSums | None,
) -> tuple[Tensor, ...]:
    """Gradients of inner, position, inner_bias, outer and outer_bias."""
    dcodes = room.codes
    if by_row is None:
        by_grid = way.dhidden.view(-1, *dcodes.shape)
        torch.sum(by_grid, 0, out=dcodes)
    else:
        by_row.into(dcodes, way.dhidden)
    dinner = (at.row.x1 @ way.dhidden).T
    dposition = room.codes_columns @ table
    douter = torch.addmm(outer, way.daffine, at.hidden, beta=0, alpha=0.1)
    douter_bias = way.daffine.sum(1).mul_(0.1)
    return dinner, dposition, dcodes.sum(0), douter, douter_bias
