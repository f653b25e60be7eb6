"""Sums of rows that share an index, the same to the bit every time."""

__all__ = ["RowSums"]

import torch
from torch import Tensor


class RowSums:
    """Sums of values (N, D) by the row of a table that each belongs to.

    A GPU that adds them one by one does so in any order, and rounds differently every
    time; there it is a product with the index's one-hot matrix, which is faster too.

    Args:
        index: Row of each value (N,).
        n: Rows of the table S.
        like: A tensor of the dtype and on the device of the values.
    """

    def __init__(self, index: Tensor, n: int, like: Tensor) -> None:
        self.index = index
        self.member = None
        if like.device.type != "cpu":
            rows = torch.arange(n, device=index.device)
            self.member = (rows[:, None] == index).to(like.dtype)

    def into(self, out: Tensor, values: Tensor) -> Tensor:
        """Write the sums (S, D) of the values (N, D) over `out`."""
        if self.member is None:
            return out.zero_().index_add_(0, self.index, values)
        return torch.mm(self.member, values, out=out)
