"""Conclusions on embeddings: whether a picture of latents can be trusted."""

__all__ = ["apparent_drift", "displacement"]

import numpy as np
import pandas as pd

from analysis.rows import alike


@alike
def apparent_drift(embedded: pd.DataFrame) -> pd.DataFrame:
    """Apparent movement of patches in a picture, step by step.

    How to read it: backbone features are the same at every step, so what their pictures
    show is the method's own doing; only what the latents show beyond it can be the
    run's.

    Args:
        embedded: Tables of `embedding`, of any methods and spaces, concatenated.

    Returns:
        One row per `run strategy seed method space step` but the first step: `drift`,
        the root mean square displacement of the patches since the step before, as a
        share of their spread.

    Example:
        >>> from analysis.embedding import measure_embedding
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> apparent_drift(embedded)["step"].tolist()
        [1]
    """
    keys = ["run", "strategy", "seed", "method", "space"]
    patches = embedded[embedded["label"] != "center"]
    rows = []
    for key, one in patches.groupby(keys, sort=False):
        steps = one.groupby("step")[["x", "y"]]
        pictures = [points.to_numpy() for _, points in steps]
        for step in range(1, len(pictures)):
            squares = displacement(pictures[step - 1], pictures[step])
            drift = float(np.sqrt(squares.mean()))
            rows.append((*key, step, drift))
    return pd.DataFrame(rows, columns=[*keys, "step", "drift"])


def displacement(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Squared displacement of each point (N,).

    As a share of the points' mean squared distance from their centroid.
    """
    centered = before - before.mean(0)
    spread = (centered**2).sum(1).mean()
    moved = now - before
    return (moved**2).sum(1) / spread
