"""The flow model: conditional couplings that end in a growing mixture."""

__all__ = [
    "COVARIANCES",
    "FlowConfig",
    "FlowModel",
    "Frames",
    "Level",
    "IUF",
    "IUFConfig",
    "LossConfig",
    "MODELS",
    "Mixture",
    "Model",
    "PLACEMENTS",
    "Positions",
    "UniAD",
    "UniADConfig",
    "encode_positions",
    "hgad_losses",
    "hgad_total",
    "plain_formulas",
    "smallest_distance",
    "trainable",
    "views",
]

from cl_flow.model.base import Model
from cl_flow.model.class_views import views
from cl_flow.model.covariances import COVARIANCES
from cl_flow.model.flow import FlowConfig, FlowModel, Level, trainable
from cl_flow.model.frames import Frames
from cl_flow.model.kernels import plain_formulas
from cl_flow.model.losses import LossConfig, hgad_losses, hgad_total
from cl_flow.model.mixture import Mixture
from cl_flow.model.models import MODELS
from cl_flow.model.placement import PLACEMENTS, smallest_distance
from cl_flow.model.positions import Positions, encode_positions
from cl_flow.model.reconstruction import IUF, IUFConfig, UniAD, UniADConfig
