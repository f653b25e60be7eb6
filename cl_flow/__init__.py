"""Continual normalizing-flow anomaly detection: train HGAD task after task and keep every step on disk."""

import os

# Spinning OpenMP threads cost a step 5 to 60 times its time on a shared machine; set before torch starts its pool.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
# Large tensors on pages of 2 MB, where the system has them: a twentieth of a step at HGAD's size.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

from cl_flow.align import ALIGNERS  # noqa: E402
from cl_flow.datasets import DATASETS  # noqa: E402
from cl_flow.features import FeatureConfig, Features, load_features  # noqa: E402
from cl_flow.fit import fit  # noqa: E402
from cl_flow.flow import FlowConfig, FlowModel  # noqa: E402
from cl_flow.mixture import Mixture  # noqa: E402
from cl_flow.run import Run, RunConfig, Snapshot  # noqa: E402
from cl_flow.score import calibrate, score  # noqa: E402
from cl_flow.strategies import STRATEGIES  # noqa: E402
from cl_flow.stream import StreamConfig, Task, make_stream  # noqa: E402
from cl_flow.train import TrainConfig  # noqa: E402

__all__ = [
    "ALIGNERS",
    "DATASETS",
    "STRATEGIES",
    "FeatureConfig",
    "Features",
    "FlowConfig",
    "FlowModel",
    "Mixture",
    "Run",
    "RunConfig",
    "Snapshot",
    "StreamConfig",
    "Task",
    "TrainConfig",
    "calibrate",
    "fit",
    "load_features",
    "make_stream",
    "score",
]
