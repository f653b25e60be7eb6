"""Settings of the process: environment variables that libraries read when loaded."""

__all__ = ["DEFAULTS", "set_defaults"]

import os

DEFAULTS = {
    # Spinning OpenMP threads cost a step 5 to 60 times its time on a shared machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    # UMAP's threads beside torch's do the same.
    "NUMBA_NUM_THREADS": "1",
    # Large tensors on pages of 2 MB, where the system has them, save a twentieth of a
    # step at HGAD's size.
    "THP_MEM_ALLOC_ENABLE": "1",
}


def set_defaults() -> None:
    """Set what the user's environment leaves open; before torch starts its threads."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
