"""What lies between the products of a coupling block, a GPU kernel for each stretch.

A GPU takes longer to call a small kernel than to run it, and a stretch of five reads
and writes its tensors five times. Layout is that of `cl_flow.model.kernels.memory`: a
channel is a row of memory, a patch a column, and hidden units lie the other way.
"""

# A kernel's annotations are Triton's own.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false

__all__ = ["TILE", "back", "enter_", "leave", "mask_"]

import triton
import triton.language as tl
from torch import Tensor

# Patches over which `back` sums in one go; sums of several go into columns.
TILE = 256


def enter_(hidden: Tensor, codes: Tensor, index: Tensor | None) -> None:
    """Add to each patch's hidden units the codes of its cell, and cut below 0.

    Args:
        hidden: Products of the first layer (N, H); changed in place.
        codes: Projected codes, with the bias (S, H).
        index: Cell of each patch (N,); None for whole grids.
    """
    size, width = hidden.shape
    grid = (triton.cdiv(size, 8), triton.cdiv(width, 128))
    gathers = index is not None
    _enter[grid](
        hidden,
        codes,
        index if gathers else codes,
        size,
        width,
        len(codes),
        GATHERS=gathers,
        ROWS=8,
        COLUMNS=128,
    )


def leave(
    affine: Tensor,
    bias: Tensor,
    row: Tensor,
    growth: Tensor,
    volume: Tensor,
    *,
    clamp: float,
) -> None:
    """Couple: from the second layer's products to the second half of the channels.

    Args:
        affine: Products [a | t] (2·⌊D/2⌋, N); tanh a takes the place of a.
        bias: Of the second layer (2·⌊D/2⌋, 1).
        row: [m₂ | x₁ | x₂] (D + ⌊D/2⌋, N), where m₂ = x₂ ⊙ growth + t is written.
        growth: Where e^{α tanh a} is written (⌊D/2⌋, N).
        volume: Where Σ tanh a is written (N,).
        clamp: Bound α of the log scale.
    """
    half, size = growth.shape
    rows = triton.next_power_of_2(half)
    columns = min(64, max(8, 2048 // rows))
    _leave[(triton.cdiv(size, columns),)](
        affine,
        bias,
        row,
        growth,
        volume,
        size,
        half,
        len(row) - half,
        clamp,
        ROWS=rows,
        COLUMNS=columns,
    )


def back(
    after: Tensor,
    before: Tensor,
    row: Tensor,
    tanh: Tensor,
    growth: Tensor,
    pull: Tensor,
    sums: Tensor,
    *,
    clamp: float,
) -> None:
    """Take the gradient of m₂ to those of a and of x₂, and sum over patches.

    Args:
        after: Gradient of the block's output (D, N).
        before: [da | dm₂ | dx₁ | dx₂] (D + 2·⌊D/2⌋, N): the middle is read, da and dx₂
            are written.
        row: [m₂ | x₁ | x₂] (D + ⌊D/2⌋, N).
        tanh: tanh a (⌊D/2⌋, N).
        growth: e^{α tanh a} (⌊D/2⌋, N).
        pull: Gradient of the log-determinant, times α (N,).
        sums: Where sums over `TILE` patches are written (4, D, tiles): of [m₂ | x₁]
            times its gradient, of `after`, of da and of dm₂; the last two fill
            ⌊D/2⌋ rows.
        clamp: Bound α of the log scale.
    """
    dim, size = after.shape
    tiles = sums.shape[2]
    _back[(tiles, triton.cdiv(dim, 4))](
        after,
        before,
        row,
        tanh,
        growth,
        pull,
        sums,
        size,
        len(growth),
        dim,
        tiles,
        clamp,
        ROWS=4,
        COLUMNS=TILE,
    )


def mask_(dhidden: Tensor, hidden: Tensor, dcodes: Tensor | None) -> None:
    """Drop the gradient of hidden units that were cut, and sum it over whole grids.

    Args:
        dhidden: Gradient of the hidden units (N, H); changed in place.
        hidden: Hidden units (N, H).
        dcodes: Where sums over the grids are written (S, H); None for single patches.
    """
    size, width = hidden.shape
    cells = size if dcodes is None else len(dcodes)
    grid = (triton.cdiv(cells, 4), triton.cdiv(width, 128))
    _mask[grid](
        dhidden,
        hidden,
        dhidden if dcodes is None else dcodes,
        width,
        cells,
        GRIDS=size // cells,
        SUMS=dcodes is not None,
        AT_ONCE=8,
        ROWS=4,
        COLUMNS=128,
    )


# ---- kernels


@triton.jit
def _tanh(x):
    square = x * x
    near = x * (1 + square * (-1 / 3 + square * (2 / 15 - square * (17 / 315))))
    shrunk = tl.exp(-2 * tl.abs(x))
    far = (1 - shrunk) / (1 + shrunk)
    far = tl.where(x < 0, -far, far)
    return tl.where(tl.abs(x) < 0.1, near, far)


@triton.jit
def _enter(
    hidden,
    codes,
    index,
    size,
    width,
    cells,
    GATHERS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    patch = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    if GATHERS:
        cell = tl.load(index + patch, mask=patch < size, other=0)
    else:
        cell = patch % cells
    inside = (patch < size)[:, None] & (unit < width)[None, :]
    at = patch.to(tl.int64)[:, None] * width + unit[None, :]
    h = tl.load(hidden + at, mask=inside, other=0.0)
    h += tl.load(codes + cell[:, None] * width + unit[None, :], mask=inside, other=0.0)
    # What is no number stays none.
    tl.store(hidden + at, tl.where(h < 0, 0.0, h), mask=inside)


@triton.jit
def _leave(
    affine,
    bias,
    row,
    growth,
    volume,
    size,
    half,
    dim,
    clamp,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    channel = tl.arange(0, ROWS)
    patch = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    real = channel < half
    inside = real[:, None] & (patch < size)[None, :]
    first = channel.to(tl.int64)[:, None] * size + patch[None, :]
    second = (channel + half).to(tl.int64)[:, None] * size + patch[None, :]
    last = (channel + dim).to(tl.int64)[:, None] * size + patch[None, :]
    a = tl.load(affine + first, mask=inside, other=0.0)
    a += tl.load(bias + channel, mask=real, other=0.0)[:, None]
    shift = tl.load(affine + second, mask=inside, other=0.0)
    shift += tl.load(bias + half + channel, mask=real, other=0.0)[:, None]
    t = _tanh(a)
    e = tl.exp(clamp * t)
    x2 = tl.load(row + last, mask=inside, other=0.0)
    tl.store(affine + first, t, mask=inside)
    tl.store(growth + first, e, mask=inside)
    tl.store(row + first, shift + x2 * e, mask=inside)
    total = tl.sum(tl.where(inside, t, 0.0), 0)
    tl.store(volume + patch, total, mask=patch < size)


@triton.jit
def _back(
    after,
    before,
    row,
    tanh,
    growth,
    pull,
    sums,
    size,
    half,
    dim,
    tiles,
    clamp,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    channel = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    patch = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    real = channel < dim
    low = channel < half
    inside = real[:, None] & (patch < size)[None, :]
    inside_low = low[:, None] & (patch < size)[None, :]
    first = channel.to(tl.int64)[:, None] * size + patch[None, :]
    second = (channel + half).to(tl.int64)[:, None] * size + patch[None, :]
    last = (channel + dim).to(tl.int64)[:, None] * size + patch[None, :]
    beyond = (channel + dim + half).to(tl.int64)[:, None] * size + patch[None, :]
    dmixed = tl.load(before + second, mask=inside, other=0.0)
    product = dmixed * tl.load(row + first, mask=inside, other=0.0)
    out = tl.load(after + first, mask=inside, other=0.0)
    dx2 = dmixed * tl.load(growth + first, mask=inside_low, other=0.0)
    x2 = tl.load(row + last, mask=inside_low, other=0.0)
    t = tl.load(tanh + first, mask=inside_low, other=0.0)
    p = tl.load(pull + patch, mask=patch < size, other=0.0)
    da = (p[None, :] + clamp * dx2 * x2) * (1 - t * t)
    tl.store(before + first, da, mask=inside_low)
    tl.store(before + beyond, dx2, mask=inside_low)
    place = sums + channel * tiles + tl.program_id(0)
    apart = dim * tiles
    tl.store(place, tl.sum(product, 1), mask=real)
    tl.store(place + apart, tl.sum(out, 1), mask=real)
    da = tl.where(inside_low, da, 0.0)
    dmixed2 = tl.where(inside_low, dmixed, 0.0)
    tl.store(place + 2 * apart, tl.sum(da, 1), mask=real)
    tl.store(place + 3 * apart, tl.sum(dmixed2, 1), mask=real)


@triton.jit
def _mask(
    dhidden,
    hidden,
    dcodes,
    width,
    cells,
    GRIDS: tl.constexpr,
    SUMS: tl.constexpr,
    AT_ONCE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    cell = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (cell < cells)[:, None] & (unit < width)[None, :]
    own = cell.to(tl.int64)[:, None] * width + unit[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for begin in range(0, GRIDS, AT_ONCE):
        for more in tl.static_range(AT_ONCE):
            grid = begin + more
            real = inside & (grid < GRIDS)
            at = own + tl.cast(grid, tl.int64) * cells * width
            h = tl.load(hidden + at, mask=real, other=0.0)
            d = tl.load(dhidden + at, mask=real, other=0.0)
            d = tl.where(h > 0, d, 0.0)
            tl.store(dhidden + at, d, mask=real)
            total += d
    if SUMS:
        tl.store(dcodes + own, total, mask=inside)
