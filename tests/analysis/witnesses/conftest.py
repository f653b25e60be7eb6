"""A flow that has something to lose, as the ledger's illnesses have it."""

import pandas as pd
import pytest

from analysis.ledger.illnesses import ILLNESSES
from analysis.ledger.swaps import swap
from tests.analysis.turned import drawn, trained

KEYS = {"run": "r", "strategy": "planted", "step": 1, "task": 0}
N_BLOCKS = 4  # of the healthy flow


@pytest.fixture(scope="session")
def healthy():
    """A model that has learned both classes."""
    return trained()


@pytest.fixture(scope="session")
def turned():
    """Patches whose class turns with the half of the image."""
    return drawn("turned")


def as_table(rows: pd.DataFrame) -> pd.DataFrame:
    """What is measured of two models, as if it were of a run."""
    return rows.assign(**KEYS)


def reset_from(model, block: int):
    """The model with every block from one on as before training."""
    untrained = ILLNESSES["blocks_reset"](model)
    return swap(model, untrained, "last", blocks=N_BLOCKS - block)
