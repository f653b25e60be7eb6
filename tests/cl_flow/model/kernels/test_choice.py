"""Kernels give way to the plain formulas where these are wanted, and only there."""

import pytest
import torch

from cl_flow.model.kernels import pays, plain_formulas


def test_plain_formulas_end_with_the_block_and_nest():
    assert pays()
    with plain_formulas():
        assert not pays()
        with plain_formulas():
            assert not pays()
        assert not pays()
    assert pays()


def test_plain_formulas_end_with_an_error():
    with pytest.raises(RuntimeError, match="halfway"), plain_formulas():
        raise RuntimeError("halfway")
    assert pays()


@pytest.mark.parametrize("name", ["vmap", "jacrev"])
def test_kernels_give_way_to_transforms(name):
    seen = []

    def function(x):
        seen.append(pays())
        return x.square()

    getattr(torch.func, name)(function)(torch.ones(2))
    assert not any(seen) and pays()
