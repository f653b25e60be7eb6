"""Models by name: what a run may train."""

__all__ = ["MODELS"]

from cl_flow.model.flow import FlowModel
from cl_flow.model.reconstruction.iuf import IUF
from cl_flow.model.reconstruction.uniad import UniAD
from cl_flow.registry import Registry

MODELS: Registry = Registry("model")
for _kind in (FlowModel, UniAD, IUF):
    MODELS(_kind.name)(_kind)
