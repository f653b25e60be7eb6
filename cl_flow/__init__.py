"""Continual normalizing-flow anomaly detection: train HGAD task after task and keep
every step on disk.
"""

import os

import lazy_loader

# Spinning OpenMP threads cost a step 5 to 60 times its time on a shared machine; set
# before torch starts its pool.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
# Large tensors on pages of 2 MB, where the system has them: a twentieth of a step at
# HGAD's size.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
