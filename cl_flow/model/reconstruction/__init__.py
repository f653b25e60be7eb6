"""Models that reconstruct features: what they cannot is anomalous."""

__all__ = ["IUF", "IUFConfig", "UniAD", "UniADConfig"]

from cl_flow.model.reconstruction.iuf import IUF, IUFConfig
from cl_flow.model.reconstruction.uniad import UniAD, UniADConfig
