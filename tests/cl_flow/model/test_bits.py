"""Bits hold a mask, whatever its shape."""

import pytest
import torch

from cl_flow.model.bits import packed, unpacked


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (16, 4), (7, 11)])
def test_a_mask_comes_back_from_an_eighth_of_its_bytes(shape):
    mask = torch.rand(shape) < 0.4
    bits = packed(mask)
    assert bits.dtype == torch.uint8 and bits.nbytes == -(-mask.numel() // 8)
    assert torch.equal(unpacked(bits, shape), mask)
    assert unpacked(packed(torch.ones(shape, dtype=torch.bool)), shape).all()
