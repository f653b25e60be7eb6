"""Incremental Gaussian mixtures as density estimators, by scikit-learn's rules."""

__all__ = ["IncrementalGaussianMixture", "growth", "moving_clusters"]

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cl_flow.align import POLICIES, MixtureState, learn_mixture
from cl_flow.align.mixtures.engine import log_joint
from cl_flow.calls import checked


class IncrementalGaussianMixture(DensityMixin, BaseEstimator):
    """Gaussian mixture that learns from a stream, batch after batch.

    It is a thin face of `cl_flow.align.learn_mixture`, for NumPy arrays.

    Args:
        policy: Name in `cl_flow.align.POLICIES`: `igmm`, `igmn`, `figmn`, `online_em`
            or `merge`.
        options: Keyword arguments of the policy.
        batch_size: Points at a time; 1 is the sequential rule of the papers, None takes
            each call's at once.

    Attributes:
        state_: The mixture in torch.
        weights_: (K,).
        means_: (K, D).
        covariances_: (K, D, D).

    Example:
        >>> stream = np.random.default_rng(0).normal(size=(500, 2))
        >>> options = {"n_components": 1}
        >>> mixture = IncrementalGaussianMixture("online_em", options=options)
        >>> mixture.fit(stream).means_.shape
        (1, 2)
    """

    def __init__(
        self,
        policy: str = "igmn",
        *,
        options: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.policy = policy
        self.options = options
        self.batch_size = batch_size

    def fit(self, X: ArrayLike, y: object = None) -> "IncrementalGaussianMixture":
        """Begin anew with the points (N, D), in their order."""
        self.__dict__.pop("state_", None)
        return self.partial_fit(X)

    def partial_fit(
        self, X: ArrayLike, y: object = None
    ) -> "IncrementalGaussianMixture":
        """Take in more points (N, D).

        The first call places and sizes new components by its own.
        """
        state = getattr(self, "state_", None)
        is_first = state is None
        x = validate_data(
            self,
            X,
            reset=is_first,
            dtype=np.float64,
            ensure_min_samples=1 + is_first,
        )
        policy = POLICIES[self.policy](**(self.options or {}))
        self.state_ = learn_mixture(
            torch.tensor(x),
            policy,
            state=state,
            batch=self.batch_size,
        )
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """ln p(x) (N,) of points (N, D)."""
        return self._state.log_prob(self._checked(X)).numpy()

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Mean of ln p(x)."""
        return float(self.score_samples(X).mean())

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """p(k | x) (N, K) of points (N, D)."""
        return log_joint(self._state.density, self._checked(X)).softmax(1).numpy()

    def sample(
        self, n_samples: int = 1, *, random_state: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws (n, D) and the component of each (n,), component by component."""
        seed = int(check_random_state(random_state).randint(2**31))
        x, k = self._state.sample(
            n_samples, generator=torch.Generator().manual_seed(seed)
        )
        return x.numpy(), k.numpy()

    @property
    def weights_(self) -> np.ndarray:
        n = self._state.components.n
        return (n / n.sum()).numpy()

    @property
    def means_(self) -> np.ndarray:
        return self._state.components.mean.numpy()

    @property
    def covariances_(self) -> np.ndarray:
        return self._state.components.covariance().numpy()

    @property
    def _state(self) -> MixtureState:
        check_is_fitted(self, "state_")
        return self.state_

    def _checked(self, X: ArrayLike) -> torch.Tensor:
        check_is_fitted(self, "state_")
        return torch.tensor(validate_data(self, X, reset=False, dtype=np.float64))


# ---- watching a mixture grow


@checked
def moving_clusters(
    n: int = 600, *, n_clusters: int = 3, shuffled: bool = False, seed: int = 0
) -> np.ndarray:
    """Stream (n, 2) of elongated clusters on a circle, in turn or shuffled.

    Example:
        >>> moving_clusters(90).shape
        (90, 2)
    """
    rng = np.random.default_rng(seed)
    places = np.arange(n_clusters)
    angles = 2 * np.pi * places / n_clusters
    sizes = n // n_clusters + (places < n % n_clusters)
    parts = []
    for angle, size in zip(angles, sizes):
        cos = np.cos(angle)
        sin = np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        upright = rng.normal(size=(size, 2)) * (0.5, 1.5) + (5, 0)
        parts.append(upright @ turn.T)
    stream = np.concatenate(parts)
    return rng.permutation(stream) if shuffled else stream


@checked
def growth(
    streams: Mapping[str, ArrayLike],
    policies: Mapping[str, Mapping[str, Any]],
    *,
    after: Sequence[int] = (20, 200, 600),
    batch_size: int = 1,
) -> pd.DataFrame:
    """Components of each mixture at several moments of each stream.

    How to read it: on one stream, rows of two policies that agree learn the same; on
    the same points in another order, what differs is the order's doing.

    Args:
        streams: Points (N, 2) by the name of their order.
        policies: Keyword arguments by the name of the policy.
        after: Numbers of points to look after.
        batch_size: Points at a time.

    Returns:
        One row per `order policy n_points component`: its `weight`, mean `x y`, the
        standard deviations `major minor` along its axes and the `angle` of the major
        one in degrees; and the `log_likelihood` of the whole stream, a mean over its
        points.

    Example:
        >>> points = moving_clusters(90)
        >>> grown = growth({"sorted": points}, {"igmn": {}}, after=(30, 90))
        >>> sorted(set(grown["n_points"]))
        [30, 90]
    """
    rows = []
    for order, stream in streams.items():
        stream = np.asarray(stream, dtype=float)
        for name, options in policies.items():
            mixture = IncrementalGaussianMixture(
                name,
                options=options,
                batch_size=batch_size,
            )
            seen = 0
            for n in after:
                mixture.partial_fit(stream[seen:n])
                seen = n
                score = mixture.score(stream)
                for k, component in enumerate(_components(mixture)):
                    rows.append((order, name, n, k, *component, score))
    keys = ["order", "policy", "n_points", "component"]
    shape = ["weight", "x", "y", "major", "minor", "angle"]
    return pd.DataFrame(rows, columns=[*keys, *shape, "log_likelihood"])


def _components(mixture: IncrementalGaussianMixture) -> Iterator[tuple[float, ...]]:
    """Weight, mean, and axes of every component in the plane."""
    parts = zip(mixture.weights_, mixture.means_, mixture.covariances_)
    for weight, mean, covariance in parts:
        yield weight, *mean, *_axes(covariance)


def _axes(covariance: np.ndarray) -> tuple[float, float, float]:
    """Standard deviations along the axes of a 2-D covariance, longer first.

    Then the angle of the longer one in degrees.
    """
    variances, directions = np.linalg.eigh(covariance)
    minor, major = np.sqrt(variances)
    x, y = directions[:, 1]
    angle = float(np.degrees(np.arctan2(y, x)))
    return major, minor, angle
