"""Whitening takes what varies, and says so where nothing does."""

import numpy as np
import pytest

from cl_flow.data.whitening import principal_directions

RNG = np.random.default_rng(0)


def test_a_dead_channel_is_no_direction_until_others_run_out():
    x = RNG.normal(size=(200, 4))
    x[:, 2] = 7.0
    mean, matrix = principal_directions(x, 3, 0.0)
    assert mean[2] == 7.0 and np.allclose(matrix[2], 0.0)
    np.testing.assert_allclose(np.cov(((x - mean) @ matrix).T), np.eye(3), atol=1e-9)
    _, shrunk = principal_directions(x, 4, 1e-3)
    assert np.isfinite(shrunk).all()
    assert principal_directions(x[:, [0, 1, 3]], 9, 0.0)[1].shape == (3, 3)
    with pytest.raises(ValueError, match="along 4 directions or more.*got 3"):
        principal_directions(x, 4, 0.0)


@pytest.mark.parametrize("shrinkage", [0.0, 1e-3])
def test_features_that_are_all_alike_are_refused(shrinkage):
    with pytest.raises(ValueError, match="Expected features that vary"):
        principal_directions(np.ones((20, 3, 4)), 2, shrinkage)
