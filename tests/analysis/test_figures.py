"""No figure is sent back: the law of `figures.py` over every plot of every room, on
streams of two to fifteen tasks. What it is to find, it finds where it was planted.
"""

import matplotlib.pyplot as plt
import pytest

from tests.analysis.drawings import DRAWINGS, STREAMS, plots
from tests.analysis.figures import faults

STYLE = "analysis.slides"
# Known faults: plot -> why. Whoever mends one deletes its line, else the test fails.
XFAIL: dict[str, str] = {
    "expansion.plot_expansion_size": "both axes put their 0 into one corner",
}
# Plots of other things than a stream's tasks: one drawing is enough.
ONCE = ("alignment.", "methods.", "ledger.plot_families", "ledger.plot_transplant")


def cases():
    for name in sorted(DRAWINGS):
        marks = pytest.mark.xfail(reason=XFAIL.get(name), strict=True)
        for title, stream in list(STREAMS.items())[: 1 if name.startswith(ONCE) else 4]:
            found = [marks] if name in XFAIL else []
            yield pytest.param(name, stream, id=f"{name}, {title}", marks=found)


def test_every_plot_of_every_room_is_drawn_here():
    assert sorted(plots()) == sorted(DRAWINGS)


@pytest.mark.parametrize(("name", "stream"), list(cases()))
def test_nobody_would_send_it_back(name, stream):
    with plt.style.context(STYLE):
        assert faults(DRAWINGS[name](stream)) == []
