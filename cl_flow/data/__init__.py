"""Images to features: photographs, datasets, frozen backbones, streams."""

__all__ = [
    "Batch",
    "DATASETS",
    "FeatureConfig",
    "Features",
    "PatchPool",
    "StreamConfig",
    "Task",
    "image_size",
    "load_backbone",
    "load_features",
    "make_stream",
    "read_image",
    "read_mask",
    "read_order",
    "task_order",
    "union",
    "windows",
]

from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.datasets import DATASETS
from cl_flow.data.extraction import load_features
from cl_flow.data.features import Features, union
from cl_flow.data.images import image_size, read_image, read_mask
from cl_flow.data.patches import Batch, PatchPool
from cl_flow.data.streams import (
    StreamConfig,
    Task,
    make_stream,
    read_order,
    task_order,
    windows,
)
