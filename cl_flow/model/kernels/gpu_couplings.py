"""Coupling blocks on a GPU: products as the library has them, little else between.

The definition is `cl_flow.model.coupling.Coupling`, as for `couple`. Triton, which
compiles what lies between the products, comes with torch on Linux.
"""

__all__ = ["couple_on_gpu", "suits"]

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from cl_flow.devices import helper_of
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
from cl_flow.model.kernels.rows import RowSums

log = logging.getLogger(__name__)

# What was computed before: Triton compiles at the first time, for one thread alone.
_COMPILED: set[tuple] = set()
_COMPILING = threading.Lock()


def suits(x: Tensor) -> bool:
    """Whether patches are such as `couple_on_gpu` takes."""
    return x.is_cuda and x.dtype == torch.float32 and _has_triton()


@cache
def _has_triton() -> bool:
    """Whether Triton is there, and finds the compiler that it begins with."""
    try:
        import_module("triton").runtime.driver.active.get_current_device()
    except Exception as error:  # noqa: BLE001  (of the system's compiler, or none)
        log.warning("training takes longer: Triton does not work here (%s)", error)
        return False
    return True


def couple_on_gpu(
    x: Tensor,
    table: Tensor,
    index: Tensor | None,
    blocks: Sequence[Block],
    *,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Arguments, results and errors as of `cl_flow.model.kernels.couplings.couple`.

    In single precision. Memory is the allocator's: a recorded step keeps its own.
    """
    keep = torch.is_grad_enabled()
    weights = [weight for block in blocks for weight in block]
    index = None if index is None else index.contiguous()
    arguments = (x, table, index, clamp, keep, *weights)
    device = x.device
    shapes = (tuple(x.shape), tuple(table.shape), blocks[0].inner.shape, index is None)
    # Triton launches on the current device, and on a CPU only interprets.
    with torch.cuda.device(device) if x.is_cuda else nullcontext():
        if (device, *shapes) in _COMPILED:
            return _CoupleOnGPU.apply(*arguments)
        with _COMPILING:
            out = _CoupleOnGPU.apply(*arguments)
        _COMPILED.add((device, *shapes))
        return out


class _CoupleOnGPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        table: Tensor,
        index: Tensor | None,
        clamp: float,
        keep: bool,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        from cl_flow.model.kernels.elementwise import enter_, leave

        blocks = blocks_of(weights)
        keep = keep and any(ctx.needs_input_grad)
        n = len(blocks)
        size, dim = x.shape
        half = dim // 2
        folds = Folds.of(blocks)
        codes = _project(table, blocks)
        slots = n if keep else 1
        # [m₂ | x₁ | x₂] of each block, and of what comes after the last.
        rows = x.new_empty(slots + 1, dim + half, size)
        hidden = x.new_empty(slots, size, codes.shape[2])
        affine = x.new_empty(slots, 2 * half, size)
        growth = x.new_empty(slots, half, size)
        volumes = x.new_empty(n, size)
        rows[0, half:] = x.T
        for b, block in enumerate(blocks):
            slot = b % slots
            row = rows[b % len(rows)]
            after = rows[(b + 1) % len(rows)]
            torch.mm(row[half:-half].T, block.inner.T, out=hidden[slot])
            enter_(hidden[slot], codes[b], index)
            out = affine[slot]
            units = hidden[slot].T
            torch.addmm(out, block.outer, units, beta=0, alpha=0.1, out=out)
            leave(out, folds.bias[b], row, growth[slot], volumes[b], clamp=clamp)
            torch.mm(folds.turn[b], row[:-half], out=after[half:]).add_(folds.push[b])
        log_det = volumes.sum(0).mul_(clamp).add_(folds.scale.log().sum())
        z = patches_first(rows[n % len(rows), half:])
        if keep:
            inners = [block.inner for block in blocks]
            outers = [block.outer for block in blocks]
            folded = (folds.raw, folds.scale, folds.turn)
            kept = (rows, hidden, affine, growth)
            ctx.save_for_backward(table, index, *folded, *kept, *inners, *outers)
            ctx.clamp = clamp
        return z, log_det

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dz: Tensor, dlog_det: Tensor) -> tuple[Tensor | None, ...]:
        from cl_flow.model.kernels.elementwise import TILE, back, mask_

        table, index, raw, scale, turn, *kept = ctx.saved_tensors
        rows, hidden, affine, growth, *used = kept
        n = len(raw)
        inners = used[:n]
        outers = used[n:]
        size, dim = dz.shape
        half = dim // 2
        of_input, learns, first = learners(ctx.needs_input_grad)
        pull = dlog_det * ctx.clamp
        turn_back = turn.mT
        by_row = None if index is None else RowSums(index, len(table), dz)
        dcodes = dz.new_zeros(n, len(table), hidden.shape[2])
        both = dz.new_empty(2, *hidden.shape[1:]).unbind()
        sums = dz.new_zeros(n, 4, dim, -(-size // TILE))
        # [da | dm₂ | dx₁ | dx₂] of a block and of the one after it, by turns.
        way, other = dz.new_empty(2, dim + 2 * half, size).unbind()
        way[2 * half :] = dz.T
        dinner = [torch.empty_like(inner) for inner in inners]
        douter = [torch.empty_like(outer) for outer in outers]
        aside = _Aside(dz.device)
        for b in reversed(range(first, n)):
            aside.wait_for(b + 2)  # which may still read what this one writes over
            dhidden = both[b % 2]
            after = way[2 * half :]
            torch.mm(turn_back[b], after, out=other[half : half + dim])
            back(
                after,
                other,
                rows[b],
                affine[b, :half],
                growth[b],
                pull,
                sums[b],
                clamp=ctx.clamp,
            )
            daffine = other[: 2 * half]
            torch.addmm(dhidden, daffine.T, outers[b], beta=0, alpha=0.1, out=dhidden)
            mask_(dhidden, hidden[b], dcodes[b] if by_row is None else None)
            if by_row is not None:
                by_row.into(dcodes[b], dhidden)
            if learns[b]:
                with aside.at(b):
                    torch.mm(dhidden.T, rows[b, half:-half].T, out=dinner[b])
                    out = douter[b]
                    torch.addmm(out, daffine, hidden[b], beta=0, alpha=0.1, out=out)
            if b > first or of_input:
                other[2 * half : -half].addmm_(inners[b].T, dhidden.T)
            way, other = other, way
        for b in range(first, n):
            aside.wait_for(b)
        dx = patches_first(way[2 * half :]) if of_input else None
        products, pushes, da, dm2 = sums.sum(3).unbind(1)
        split = dim - half
        of_blocks = zip(
            dinner,
            (dcodes.mT @ table).unbind(),
            dcodes.sum(1).unbind(),
            douter,
            torch.cat([da[:, :half], dm2[:, :half]], 1).mul_(0.1).unbind(),
            scale_gradient(products, dlog_det, raw, scale, split).unbind(),
            offset_gradient(pushes, turn, scale, split).unbind(),
        )
        of_weights = []
        for own, learnt in zip(of_blocks, learns):
            of_weights += [*(own if learnt else (None,) * 7), None]
        return dx, None, None, None, None, *of_weights


class _Aside:
    """Products that nothing waits for, computed beside the others where that can be.

    Gradients of weights are half of the way back, and small; the other half is one long
    chain.

    Args:
        device: Of the current stream.
    """

    def __init__(self, device: torch.device) -> None:
        self.helper = helper_of(device)
        self.done: dict[int, torch.cuda.Event] = {}

    @contextmanager
    def at(self, b: int) -> Iterator[None]:
        """Compute for block b, after what has been asked for so far."""
        if self.helper is None:
            yield
            return
        self.helper.wait_stream(torch.cuda.current_stream(self.helper.device))
        with torch.cuda.stream(self.helper):
            yield
        self.done[b] = torch.cuda.Event()
        self.done[b].record(self.helper)

    def wait_for(self, b: int) -> None:
        """Let what follows wait for what was computed for block b."""
        event = self.done.get(b)
        if self.helper is not None and event is not None:
            torch.cuda.current_stream(self.helper.device).wait_event(event)


def _project(table: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Codes as the first layer adds them, with its bias (n, S, hidden)."""
    position = torch.stack([block.position for block in blocks])
    bias = torch.stack([block.inner_bias for block in blocks])
    tables = table.expand(len(blocks), *table.shape)
    return torch.baddbmm(bias[:, None], tables, position.mT)
