"""Devices that a test runs on."""

__all__ = ["DEVICES", "GPU"]

import pytest
import torch

GPU = pytest.param(
    "cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
)
# A machine without a GPU skips it, and says so.
DEVICES = ["cpu", GPU]
