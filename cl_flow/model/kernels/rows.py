"""Sums of rows that share an index, the same to the bit every time."""

__all__ = ["RowSums"]

import torch
from torch import Tensor

# Rows of a table up to which a product is the quickest way to sum on a GPU.
SMALL = 512


class RowSums:
    """Sums of values (N, D) by the row of a table that each belongs to.

    A GPU that adds them one by one does so in any order, and rounds differently every
    time. There it is a product with the index's one-hot matrix, which takes the least
    time for a small table, and for a large one the values are sorted first.

    Args:
        index: Row of each value (N,).
        n: Rows of the table S.
        like: A tensor of the dtype and on the device of the values.
    """

    def __init__(self, index: Tensor, n: int, like: Tensor) -> None:
        self.index = index
        self.member = None
        self.on_cpu = like.device.type == "cpu"
        if not self.on_cpu and n <= SMALL:
            rows = torch.arange(n, device=index.device)
            self.member = (rows[:, None] == index).to(like.dtype)

    def into(self, out: Tensor, values: Tensor) -> Tensor:
        """Write the sums (S, D) of the values (N, D) over `out`."""
        if self.member is not None:
            return torch.mm(self.member, values, out=out)
        if self.on_cpu:
            return out.zero_().index_add_(0, self.index, values)
        return out.zero_().index_put_((self.index,), values, accumulate=True)
