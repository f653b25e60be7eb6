"""No figure is sent back: the law of `figures.py` over every plot of every room, on
streams of two to fifteen tasks. What it is to find, it finds where it was planted.
"""

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tests.analysis.drawings import DRAWINGS, STREAMS, plots
from tests.analysis.figures import faults, lawful

STYLE = "analysis.slides"
# Plots of other things than a stream's tasks: one drawing is enough.
ONCE = ("alignment.", "methods.", "ledger.plot_families", "ledger.plot_transplant")
ONCE += ("witnesses.plot_accessibility", "witnesses.plot_representations")
ONCE += ("witnesses.plot_path", "witnesses.plot_leads")


def cases():
    for name in sorted(DRAWINGS):
        for title, stream in list(STREAMS.items())[: 1 if name.startswith(ONCE) else 4]:
            yield pytest.param(name, stream, id=f"{name}, {title}")


def test_every_plot_of_every_room_is_drawn_here():
    assert sorted(plots()) == sorted(DRAWINGS)


@pytest.mark.parametrize(("name", "stream"), list(cases()))
def test_nobody_would_send_it_back(name, stream):
    with plt.style.context(STYLE):
        assert faults(DRAWINGS[name](stream)) == []


# ---- what it is to find, where it was planted


def healthy() -> Figure:
    figure, ax = plt.subplots(layout="constrained")
    ax.plot([0, 1], [0, 1], color="#0072B2", label="rising")
    ax.plot([0, 1], [1, 0], color="#D55E00", label="falling")
    ax.set(xlabel="step", ylabel="image AUROC")
    ax.legend(bbox_to_anchor=(1.02, 0.5), loc="center left")
    return figure


def no_label(ax) -> None:
    ax.set_xlabel("")


def no_legend(ax) -> None:
    ax.get_legend().remove()


def small(ax) -> None:
    ax.set_title("eleven points", size=11)


def overlap(ax) -> None:
    ax.text(0.1, 1.2, "one word")
    ax.text(0.12, 1.2, "another")
    ax.set_ylim(-0.1, 1.4)


def pale(ax) -> None:
    ax.text(0.4, 1.2, "yellow", color="#F0E442")
    ax.set_ylim(-0.1, 1.4)


def struck_through(ax) -> None:
    ax.text(0.4, 0.5, "a word in the midst", va="center", ha="center")


def struck_through_behind_a_halo(ax) -> None:
    halo = [withStroke(linewidth=4, foreground="white")]
    ax.text(0.4, 0.5, "in the midst", va="center", ha="center", path_effects=halo)


def outside(ax) -> None:
    ax.text(-0.9, 0.5, "a word that is too far to the left", in_layout=False)


PLANTED = {
    no_label: "has no label",
    no_legend: "nothing says what the colour",
    small: "has 11.0 points",
    overlap: "overlaps",
    pale: "stands out by",
    struck_through: "is crossed by data",
    struck_through_behind_a_halo: "is crossed by data",
    outside: "runs out of the figure",
}


def test_a_healthy_figure_has_no_fault():
    with plt.style.context(STYLE):
        assert faults(healthy()) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_and_no_other(plant):
    with plt.style.context(STYLE):
        figure = healthy()
        plant(figure.axes[0])
        found = faults(figure)
    plt.close(figure)
    assert found and all(PLANTED[plant] in fault for fault in found)


def test_a_figure_with_faults_is_not_saved():
    saved = []
    save = lawful(lambda figure, name: saved.append(name))
    with plt.style.context(STYLE):
        save(healthy(), "good")
        figure = healthy()
        no_label(figure.axes[0])
        with pytest.raises(AssertionError, match="bad: an axis .* has no label"):
            save(figure, "bad")
    assert saved == ["good"]
