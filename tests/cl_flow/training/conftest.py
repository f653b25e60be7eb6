"""Features that every test of training learns: noise of two categories."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def data() -> "Features":  # noqa: F821
    from cl_flow.data.features import Features  # in the data folder of the tests

    rng = np.random.default_rng(0)
    samples = pd.DataFrame({"category": ["a", "b"] * 8, "split": "train", "label": 0})
    levels = tuple(
        rng.normal(2, 3, size=(16, cells, 6)).astype(np.float16) for cells in (9, 4)
    )
    return Features(samples, levels, ((3, 3), (2, 2)), np.arange(16))
