"""Threads that torch uses, and that they are given back."""

import pytest
import torch

from cl_flow.devices import one_thread, threads


def test_threads_are_given_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_function_on_one_thread_keeps_its_face():
    before = torch.get_num_threads()

    @one_thread
    def count(x: int, *, times: int = 2) -> tuple[int, int]:
        """Counts."""
        return x * times, torch.get_num_threads()

    with threads(before + 1):
        assert count(3, times=4) == (12, 1)
        assert torch.get_num_threads() == before + 1
    assert (count.__name__, count.__doc__) == ("count", "Counts.")
