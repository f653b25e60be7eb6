"""Patches on which a flow has something to lose, and a model that learned them.

Where a class lies turns with the half of the image, so that a density that does not
know the position, such as a refit of an untrained flow, sees no defect that comes from
the other half (`turned`). `between` are patches half way to the other class, which make
the class uncertain.
"""

__all__ = ["CLASSES", "DIM", "SCORING", "TRAINING", "drawn", "trained"]

import functools

import numpy as np
import pandas as pd

from analysis.scoring import Scoring
from cl_flow import FlowConfig, FlowModel, TrainConfig
from cl_flow.data.features import Features
from cl_flow.model.losses import LossConfig
from cl_flow.training.loop import train

DIM, SIDE, CLASSES = 8, 6, ("ant", "bee")
SCORING = Scoring(metric="image_auroc", size=24, sigma=1.0)
TRAINING = TrainConfig(
    epochs=60, batch_images=10, lr=1e-2, losses=LossConfig(mutual_information=1.0)
)


def drawn(defect: str, *, seed: int = 0) -> Features:
    """Normal training images, and test images half of which hold a block of defective
    patches.
    """
    rng = np.random.default_rng(seed)
    rows, patches = [], []
    half = np.where(np.arange(SIDE * SIDE) % SIDE < SIDE // 2, 1.0, -1.0)
    for k, category in enumerate(CLASSES):
        for i in range(70):
            label = int(i >= 50)
            x = np.zeros((SIDE, SIDE, DIM))
            x[..., k], x[..., 2 + k] = 3, 2 * half.reshape(SIDE, SIDE)
            if label:
                row, column = rng.integers(0, SIDE - 2), rng.choice([0, SIDE - 3])
                block = x[row : row + 3, column : column + 3]
                if defect == "turned":
                    block[..., 2 + k] *= -1
                else:
                    block[..., [k, 1 - k]] = 1.5
            patches.append(x.reshape(-1, DIM) + rng.normal(0, 0.6, (SIDE * SIDE, DIM)))
            rows.append((category, "train" if i < 30 else "test", label))
    samples = pd.DataFrame(rows, columns=["category", "split", "label"])
    return Features(
        samples,
        (np.stack(patches).astype(np.float16),),
        ((SIDE, SIDE),),
        np.arange(len(rows)),
    )


@functools.cache
def trained(*, seed: int = 0) -> FlowModel:
    """A model that has learned both classes, trained once; nobody may change it."""
    features = drawn("turned", seed=seed).where(split="train")
    config = FlowConfig(n_blocks=4, n_components=3, position_dim=8, hidden=32)
    model = FlowModel(features.dims, features.grids, config, seed=seed)
    model.expand_(CLASSES)
    train(model, features, TRAINING, progress=False)
    return model
