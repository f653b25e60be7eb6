"""Continual normalizing-flow anomaly detection: train HGAD task after task and keep every step on disk."""

import os

# Spinning OpenMP threads cost a step 5 to 60 times its time on a shared machine; set before torch starts its pool.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
