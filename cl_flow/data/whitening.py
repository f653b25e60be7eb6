"""Whitening: leading principal directions at unit variance."""

__all__ = ["principal_directions", "project"]

import numpy as np

RELATIVE = 1e-12  # of the largest variance: what double precision leaves of none


def principal_directions(
    x: np.ndarray, dim: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and whitening matrix (D, d) of patches (…, D).

    Raises:
        ValueError: The patches are all alike, or without shrinkage vary along too few
            directions.
    """
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean = x.mean(0)
    variance, directions = np.linalg.eigh(
        np.cov(x.T - mean[:, None]).reshape(x.shape[1], -1)
    )
    order = np.argsort(variance)[::-1][:dim]
    n_vary = int((variance > RELATIVE * variance.max()).sum())
    needed = 1 if shrinkage else len(order)
    if n_vary < needed:
        raise ValueError(
            f"Expected features that vary, along {needed} directions or more, to "
            f"whiten them; got {n_vary} that do. Look at the training images: "
            "cl-flow data look."
        )
    variance = variance[order] + shrinkage * variance.max()
    signs = np.sign(directions[np.abs(directions).argmax(0), range(len(directions))])[
        order
    ]
    return mean, directions[:, order] * signs / np.sqrt(variance)


def project(level: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    out = np.empty((*level.shape[:-1], matrix.shape[1]), dtype=np.float16)
    for start in range(0, len(level), 64):
        chunk = level[start : start + 64].astype(np.float32)
        out[start : start + 64] = (chunk - mean.astype(np.float32)) @ matrix.astype(
            np.float32
        )
    return out
