"""Datasets: functions from a root folder to samples.

Samples are a DataFrame, one row per image.
"""

__all__ = ["COLUMNS", "DATASETS"]

from cl_flow.data.datasets import btad, folder, mvtec, mvtec_3d, visa  # noqa: F401  (each enrols itself)
from cl_flow.data.datasets.base import COLUMNS, DATASETS
from cl_flow.data.datasets.drawn import synthetic  # noqa: F401
