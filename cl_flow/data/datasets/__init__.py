"""Datasets: functions from a root folder to samples, a DataFrame with one row per image."""

__all__ = ["COLUMNS", "DATASETS"]

from cl_flow.registry import Registry

COLUMNS = ["dataset", "category", "split", "label", "defect", "image_path", "mask_path"]
DATASETS = Registry("dataset")

from cl_flow.datasets import btad, folder, mvtec, mvtec_3d, synthetic, visa  # noqa: E402, F401  (each enrols itself)
