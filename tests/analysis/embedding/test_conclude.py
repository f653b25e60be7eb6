"""Conclusions on embeddings, of a square that moves."""

import numpy as np
import pandas as pd

from analysis.embedding.conclude import apparent_drift


def test_apparent_drift_is_a_share_of_the_spread():
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    frames = [
        pd.DataFrame(square + step, columns=["x", "y"]).assign(
            step=step, label="normal"
        )
        for step in (0, 1)
    ]
    table = pd.concat(
        [
            *frames,
            pd.DataFrame({"x": [99.0], "y": [99.0], "step": [1], "label": ["center"]}),
        ]
    )
    table = table.assign(
        run="r", strategy="finetune", seed=0, method="joint", space="latents"
    )
    assert apparent_drift(table)["drift"].tolist() == [1.0]
