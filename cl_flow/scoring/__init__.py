"""Models and features to anomaly maps."""

__all__ = [
    "Calibration",
    "Latents",
    "PARTS",
    "Scores",
    "anomaly_maps",
    "calibrate",
    "encode",
    "encoded",
    "score",
]

from cl_flow.scoring.latents import Latents, encode, encoded
from cl_flow.scoring.maps import anomaly_maps
from cl_flow.scoring.scores import PARTS, Calibration, Scores, calibrate, score
