"""The registry of datasets, and the columns of samples."""

__all__ = ["COLUMNS", "DATASETS"]

from cl_flow.registry import Registry

COLUMNS = ["dataset", "category", "split", "label", "defect", "image_path", "mask_path"]


DATASETS = Registry("dataset")
