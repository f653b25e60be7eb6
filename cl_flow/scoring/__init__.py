"""Models and features to anomaly maps."""

__all__ = [
    "Calibration",
    "Latents",
    "PARTS",
    "Residuals",
    "Scores",
    "anomaly_maps",
    "calibrate",
    "encode",
    "encoded",
    "score",
    "score_residuals",
]

from cl_flow.scoring.latents import Latents, encode, encoded
from cl_flow.scoring.maps import anomaly_maps
from cl_flow.scoring.residuals import Residuals, score_residuals
from cl_flow.scoring.scores import PARTS, Calibration, Scores, calibrate, score
