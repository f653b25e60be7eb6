"""A run that tests of measurements share, each module its own."""

import pytest


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory: pytest.TempPathFactory) -> "Run":  # noqa: F821
    """The tiny run: two tasks of three categories, fine-tuned."""
    from cl_flow import fit  # once the data folder is that of the tests

    return fit(tiny, folder=tmp_path_factory.mktemp("runs"), progress=False)
