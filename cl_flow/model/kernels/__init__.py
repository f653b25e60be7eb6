"""Hand-written kernels of the hot path, tested against the plain formulas.

`couple` stands for a stack of `cl_flow.model.coupling.Coupling` blocks, `objective` for
the terms of `cl_flow.model.losses.hgad_losses`. Either gives the same numbers as the
plain formula up to rounding, in a fraction of its time; `pays` says when they are used.
"""

__all__ = [
    "Block",
    "FusedAdam",
    "couple",
    "objective",
    "pays",
    "plain_formulas",
    "reuse_memory",
]

from cl_flow.model.kernels.adam import FusedAdam
from cl_flow.model.kernels.choice import pays, plain_formulas
from cl_flow.model.kernels.couplings import Block, couple, reuse_memory
from cl_flow.model.kernels.losses import objective
